"""
The exceptions of the product.

PillarboxError
    PayloadError
    CriteriaError
    ShardBusyError
        LockLostError
        ClaimLostError
    TriggersError
    SecondSchemaError
    WorkerDiedError
    RegistrationError
    UnreadableError
    UnknownObjectTypeError
    AnnouncementError
    ClientCommandError
    SocketClosedError
    NotDrainedError
"""

from collections.abc import Mapping, Sequence
from typing import Any

#: Why schemas for tenants are refused.
ONE_SCHEMA = (
    "Triggers, streams and the outbox belong to one schema: the changes of other schemas would not be "
    "announced, or to the wrong tenant."
)


class PillarboxError(Exception):
    """The base of all errors of the product. It is never raised itself."""


class PayloadError(PillarboxError, ValueError):
    """A value that PostgreSQL can't store or Redis can't carry. ``field`` is its path."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class CriteriaError(PillarboxError, ValueError):
    """An invalid filter of rows. ``field`` is the filter's name."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class ShardBusyError(PillarboxError):
    """A lock that another transaction holds for too long. The work on the shard is left for later."""

    why = "another transaction holds a lock."

    def __init__(self, shard: int) -> None:
        super().__init__(f"Shard {shard} is left for later: {self.why}")


class LockLostError(ShardBusyError):
    """The loss of a shard's lock: PostgreSQL ended its transaction and rolled its writes back."""

    why = "this process lost its lock after it was idle for LOCK_IDLE_SECONDS. Perhaps it was stopped."


class ClaimLostError(ShardBusyError):
    """The loss of a claim: another process publishes the shard, or has claimed its rows meanwhile."""

    why = "another process publishes it, or has claimed its rows meanwhile."


class WorkerDiedError(PillarboxError):
    """The death of a worker that had taken this row alone, after others had died with it in a batch."""

    def __init__(self, deaths: int) -> None:
        super().__init__(
            f"A worker died while it handled this row alone. Before, {deaths} workers died with batches"
            " that included it."
        )


class TriggersError(PillarboxError):
    """Triggers that could not be installed or removed. ``reasons`` are PostgreSQL's, by table."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        listed = "; ".join(f"{table}: {reason}" for table, reason in reasons.items())
        super().__init__(
            f"{len(reasons)} triggers could not be changed; all others are up to date. {listed}. Run"
            " `manage.py pillarbox triggers` again, as the tables' owner, while the tables are not in use."
        )
        self.reasons = reasons


class SecondSchemaError(PillarboxError):
    """Live tables of one name in several schemas. ``tables`` are those that the search path doesn't find."""

    def __init__(self, tables: Sequence[str]) -> None:
        super().__init__(
            f"Another schema has a live table of the same name: {', '.join(tables)}. {ONE_SCHEMA} If it is no"
            " tenant's, run `manage.py pillarbox triggers --remove`, rename it, and run `migrate` again."
        )
        self.tables = tables


class RegistrationError(PillarboxError):
    """An invalid declaration of an object type."""


class UnreadableError(PillarboxError):
    """The failure to read an object. It quotes no value, unlike its cause."""


class UnknownObjectTypeError(PillarboxError):
    """An object type or collection that is not registered, or a key that its objects can't have."""


class AnnouncementError(PillarboxError, ValueError):
    """An invalid call of `announce`."""


class ClientCommandError(PillarboxError):
    """A refused command of a client. It becomes an ``error`` frame; the socket stays open."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Any = None,
        ref: int | str | None = None,
        temporary: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.errors = errors
        self.ref = ref
        self.temporary = temporary
        #: In seconds.
        self.retry_after = retry_after


class SocketClosedError(PillarboxError):
    """A test's socket that the server has closed. ``code`` is the close code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The server closed the socket with {code}.")
        self.code = code


class NotDrainedError(PillarboxError):
    """A test's drain that is impossible here, or a row that it can't render or publish."""
