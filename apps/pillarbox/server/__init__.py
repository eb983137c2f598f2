"""Daphne with the limits of the documented protocol."""
