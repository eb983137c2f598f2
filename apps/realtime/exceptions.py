"""
What the live half raises on purpose.

RealtimeError
    RegistrationError
    UnknownObjectTypeError
    AnnouncementError
    CommandError
"""

from typing import Any


class RealtimeError(Exception):
    """Base of every error here. Never raised itself."""


class RegistrationError(RealtimeError):
    """An object type can't be registered as it is."""


class UnknownObjectTypeError(RealtimeError):
    """A row is of an object type that is not registered here, or not any more."""


class AnnouncementError(RealtimeError, ValueError):
    """`announce` was asked for what it can't announce."""


class CommandError(RealtimeError):
    """A client's command is refused. It becomes an ``error`` frame; the socket stays open."""

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
