"""
What the outbox raises on purpose.

OutboxError
    PayloadError
    CaptureError
    UnannouncedWriteError
    CriteriaError
    ShardBusyError
        LockLostError
    UnknownTypeError
    WorkerDiedError
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


class CriteriaError(OutboxError, ValueError):
    """A filter of rows makes no sense. ``field`` is its name."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class ShardBusyError(OutboxError):
    """A shard is left for later, since another transaction holds a lock for longer than it should."""

    why = "another transaction holds a lock."

    def __init__(self, shard: int) -> None:
        super().__init__(f"Shard {shard} is left for later: {self.why}")


class LockLostError(ShardBusyError):
    """PostgreSQL has taken a shard's lock from this process, with all that it wrote under the lock."""

    why = "this process lost its lock, since it did nothing for LOCK_IDLE_SECONDS. Perhaps it was stopped."


class WorkerDiedError(OutboxError):
    """A worker died while it had this row alone in hand, and so did many before."""

    def __init__(self, deaths: int) -> None:
        super().__init__(
            f"A worker died while it published this row and nothing else. {deaths} had died before, with it"
            " among the rows in hand."
        )


class UnknownTypeError(OutboxError, LookupError):
    """A row is of an object type that this process doesn't know."""

    def __init__(self, object_type: str) -> None:
        super().__init__(f"The object type {object_type!r} is not registered in this process.")
