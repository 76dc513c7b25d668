"""Battery devices: the abstract device and SunSpec Modbus."""
