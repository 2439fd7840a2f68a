"""A run's windows, recomputed by anybody from public objects and the chain."""
