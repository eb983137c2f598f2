"""The chaos rig: a site of its own, faults, clients, and one checker. `python -m tests.rig` runs it."""
