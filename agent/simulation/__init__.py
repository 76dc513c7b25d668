"""An AI factory in software: GPUs behind real pynvml, meter and battery over real Modbus."""
