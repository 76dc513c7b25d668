"""Simulated GPUs behind unmodified pynvml: a small C library and the mapped file its state lives in."""
