"""Capture: changes of live tables become rows of the outbox, in the transaction that makes them."""
