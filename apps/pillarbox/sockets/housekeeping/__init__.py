"""Recurring work for all sockets of a process."""
