"""Monitoring for operators: the backlog, causes of failures, running processes, the overall status."""
