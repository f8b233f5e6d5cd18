"""The sans-IO core: bytes in, messages out. No Trio, no clock, no I/O."""
