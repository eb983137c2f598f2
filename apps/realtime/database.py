"""The one crossing from sockets to the database: a bounded executor of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

from django.db import close_old_connections

from .conf import realtime_settings

P = ParamSpec("P")
T = TypeVar("T")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """
    Return what a synchronous function that uses the ORM returns.

    It runs on a few threads that serve all sockets of the process, apart from the one thread on
    which asgiref runs everything else. Raises whatever the function raises.
    """

    def run() -> T:
        close_old_connections()
        try:
            return function(*args, **kwargs)
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(_executor(), run)


@lru_cache
def _executor() -> ThreadPoolExecutor:
    threads = realtime_settings().DATABASE_THREADS
    return ThreadPoolExecutor(threads, thread_name_prefix="realtime-database")
