"""The command `dualseg`."""
