"""Triggers: they write the rows of the outbox, in the transaction that changes a live table."""
