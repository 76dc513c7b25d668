"""Site meters: the abstract device and SunSpec Modbus."""
