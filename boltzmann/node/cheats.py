"""The cheats of the local network by name; what each does is in `conduct`, which needs torch."""

CHEATS = ("random", "copy", "half", "idle")
