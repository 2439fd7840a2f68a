"""What the entry points share: settings, the wiring of adapters to a node, exit codes."""
