"""
What the outbox raises on purpose.

OutboxError
    PayloadError
    CaptureError
    UnannouncedWriteError
    NotReplayableError
"""


class OutboxError(Exception):
    """Base of every error here. Never raised itself."""


class PayloadError(OutboxError, ValueError):
    """A value can't be stored by PostgreSQL or carried by Redis. ``field`` is its path."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class CaptureError(OutboxError):
    """A write of live objects can't be announced as it is asked for. The message says what can."""


class UnannouncedWriteError(OutboxError):
    """A test suite's guard saw a write to a live table that announces nothing."""


class NotReplayableError(OutboxError):
    """A row is not failed, or was replayed before."""
