"""The chaos rig: a site of its own, faults, clients, and a checker. Run it with `python -m tests.rig`."""
