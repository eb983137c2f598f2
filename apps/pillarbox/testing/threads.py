"""The thread to which a test's database connection belongs, as an executor."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


class ThreadOfTest(Executor):
    """An executor that runs functions in the thread in which `sync_to_async` runs them for the test."""

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a function as soon as the thread is free. Called in the event loop."""
        call = sync_to_async(function)(*args, **kwargs)
        return asyncio.run_coroutine_threadsafe(call, asyncio.get_running_loop())
