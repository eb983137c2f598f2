"""Batches: which rows a process renders next, and what is recorded of them afterwards."""
