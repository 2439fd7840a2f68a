"""Where a node's observations go: console, JSON lines, Weights & Biases."""
