"""The rules all nodes agree on, bit for bit: pure functions of seeds, blocks and bytes."""
