"""Generators: the abstract device, its state machine, its hours by permit, its cost, and a Modbus driver."""
