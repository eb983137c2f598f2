"""Capture by the database: triggers on live tables write the rows of the outbox."""
