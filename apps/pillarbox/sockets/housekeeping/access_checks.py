"""Access checks of many sockets together."""

from collections.abc import Iterable

from ...database import AWAY_OR_SLOW, limited
from ..access.access import Access
from ..access.checks import check_access
from ..database import in_housekeeping
from .batch_queue import BatchQueue
from .failures import log_failure


class AccessChecks:
    """The access checks that have been requested, and are made soon."""

    def __init__(self) -> None:
        self._queue: BatchQueue[Access] = BatchQueue(self._check)

    def request(self, accesses: Iterable[Access]) -> None:
        """Request access checks."""
        self._queue.add(accesses)

    async def end(self) -> None:
        """Drop the requests, and cancel the running check."""
        await self._queue.end()

    async def _check(self, accesses: list[Access]) -> None:
        """Check a batch. If the check fails, repeat it for each socket alone."""
        try:
            await _check(accesses)
        except Exception:  # noqa: BLE001  # a permission is the project's code
            for access in accesses:  # pragma: no branch  # coverage doesn't see the loop's end
                await self._check_alone(access)

    async def _check_alone(self, access: Access) -> None:
        try:
            await _check([access])
        except AWAY_OR_SLOW as error:
            access.require_check()  # the next position check requests it
            log_failure(error)
        except Exception as error:  # noqa: BLE001  # as above
            log_failure(error, access.streams)
            access.deny()


async def _check(accesses: list[Access]) -> None:
    checks = [access.check for access in accesses]
    decisions, snapshot = await in_housekeeping("rights", limited(check_access), checks)
    for access, check, decision in zip(accesses, checks, decisions, strict=True):
        access.accept(decision, check, snapshot)
