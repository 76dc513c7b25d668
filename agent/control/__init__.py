"""The control law at 1 Hz: from meter and budget to caps and battery set-points. No I/O."""
