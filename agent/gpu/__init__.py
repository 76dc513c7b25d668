"""GPU power devices: the abstract device and NVML."""
