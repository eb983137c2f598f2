"""
What the outbox raises on purpose.

OutboxError
    PayloadError
    NotReplayableError
"""


class OutboxError(Exception):
    """Base of every error here. Never raised itself."""


class PayloadError(OutboxError, ValueError):
    """A value can't be stored by PostgreSQL or carried by Redis. ``field`` is its path."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class NotReplayableError(OutboxError):
    """A row is not failed, or was replayed before."""
