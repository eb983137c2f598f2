"""How a log record looks: a sentence and its fields, for people, or JSON, for machines. Without secrets."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from apps.outbox.redaction import mask, without_quoted_rows

#: What every record has; the rest came with ``extra``. Of a request its address may be secret.
COMMON = {
    *vars(logging.makeLogRecord({})),
    *("message", "asctime", "taskName", "data", "request", "server_time"),
}


class RarelyFilter(logging.Filter):
    """Lets each sentence through once in a while, whatever it is about: for who complains each second."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._next: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Called with each record of a logger that has this filter."""
        if record.created < self._next.get(record.msg, 0):
            return False
        self._next[record.msg] = record.created + self.seconds
        return True


class FieldsFormatter(logging.Formatter):
    """A sentence, then the record's own fields: ``Drained action=drained published=2``."""

    def format(self, record: logging.LogRecord) -> str:
        """Called with each record."""
        return without_quoted_rows(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the parent's name
        """Called with a record whose ``message`` is set."""
        fields = [f"{key}={_on_one_line(value)}" for key, value in _fields(record).items()]
        return " ".join([super().formatMessage(record), *fields])


class JsonFormatter(logging.Formatter):
    """One JSON object to a line, with the record's own fields beside ``at``, ``level`` and ``message``."""

    def format(self, record: logging.LogRecord) -> str:
        """Called with each record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_quoted_rows(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            line["traceback"] = without_quoted_rows(self.formatException(record.exc_info))
        return json.dumps(line, default=lambda value: without_quoted_rows(str(value)))


def _on_one_line(value: Any) -> str:
    """Return a value as text that can't end its line, nor move the terminal: a path is a client's."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the record's own fields."""
    own = {
        key: without_quoted_rows(value) if isinstance(value, str) else value
        for key, value in vars(record).items()
        if key not in COMMON
    }
    masked: dict[str, Any] = mask("", own)
    return masked
