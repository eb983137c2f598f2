"""
Eager models: those whose own code reads the database while an instance is made.

Many models remember their columns in ``__init__``, or a receiver of `post_init` does. A deferred column
would then cost a query for each instance. Two of them would be read without end, because Django makes
another instance to read a column.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connections, models

T = TypeVar("T")

#: The models that were found to be eager.
_eager: set[type[models.Model]] = set()


def unless_eager(
    model: type[models.Model], partial: Callable[[], T], whole: Callable[[], T], using: str
) -> T:
    """
    Return ``partial()``, which makes instances with deferred columns by one statement.

    Return ``whole()`` if the model is eager. Its first instance in a process tells.
    """
    if model not in _eager:
        single = _SingleStatement()
        try:
            with connections[using].execute_wrapper(single):
                made = partial()
        except (
            Exception
        ):  # the project's code may have caught the refusal, and raised its own error
            if not single.has_refused:
                raise
        if not single.has_refused:
            return made
        _eager.add(model)
    return whole()


class _SecondStatementError(Exception):
    """A statement that would read the database while an instance is made."""


class _SingleStatement:
    """An execute wrapper that refuses all statements except the first one."""

    has_begun = has_refused = False

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Called for each statement: execute the first one, and refuse others."""
        if self.has_begun:
            self.has_refused = True
            raise _SecondStatementError
        self.has_begun = True
        return execute(sql, params, many, context)
