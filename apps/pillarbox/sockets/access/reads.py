"""Reads of the database for one socket."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.db import DEFAULT_DB_ALIAS

from ...stream.ends_of_rights import Object, has_unknown
from ..database import in_database
from .access import Access
from .ends_reader import EndsReader

P = ParamSpec("P")
T = TypeVar("T")

#: The most repetitions of a read because rights ended meanwhile.
TRIES = 5


class Reads:
    """The reads whose result depends on what a socket's user may see."""

    def __init__(self, access: Access, ends_reader: EndsReader) -> None:
        self._access, self.ends_reader = access, ends_reader
        #: All sockets of a user share it, so that one task at a time reads the database for a user.
        self.limit = asyncio.Semaphore()

    async def read(
        self, function: Callable[Concatenate[Any, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """
        Run a function in the database, with the user as its first argument, and return its result.

        Repeats it if a right may have ended that neither the result nor the access check knows of. Raises one
        of AWAY_OR_SLOW, also if rights end all the time.
        """
        access = self._access
        for _ in range(TRIES):
            await access.be_checked()
            known = self.ends_reader.position.offset
            read = partial(function, access.user, *args, **kwargs)
            async with self.limit:
                result, has_unknown_ends = await in_database(
                    _with_unknown_ends, read, access.user.pk, access.session, known
                )
            if not has_unknown_ends:
                return result
            await self.ends_reader.read_all()
        raise TimeoutError("Rights end all the time.")


def _with_unknown_ends(
    read: Callable[[], T], user_pk: Any, session: Object, known: int
) -> tuple[T, bool]:
    """Return a result, and whether an end after the offset ``known`` may have been committed before it."""
    result = read()
    return result, has_unknown(user_pk, session, known, using=DEFAULT_DB_ALIAS)
