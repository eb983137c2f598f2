"""Loggers whose own fields begin with a common prefix, so that they never clash with those of a project."""

import logging
from collections.abc import MutableMapping
from typing import Any

#: How each field begins that a log record of this package carries beside Python's own.
PREFIX = "pillarbox_"


class Logger(logging.LoggerAdapter[logging.Logger]):
    """A logger that puts the prefix before each name in ``extra``, so ``rows`` becomes ``pillarbox_rows``."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Called with each message and its options; return both, with the prefixed names."""
        if fields := kwargs.get("extra"):
            kwargs["extra"] = {f"{PREFIX}{name}": value for name, value in fields.items()}
        return msg, kwargs


def get_logger(name: str) -> Logger:
    """Return the logger of a module."""
    return Logger(logging.getLogger(name))
