"""The formats of log records: text with fields for people, JSON for machines, both without secrets."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from pillarbox.stream.redaction import mask, without_quoted_rows

#: Attributes of every record; all others come from ``extra``. A request's address may be secret.
COMMON = {
    *vars(logging.makeLogRecord({})),
    *("message", "asctime", "taskName", "data", "request", "server_time"),
}


#: Part of a value that looks like another field.
FIELD = re.compile(r"\s\w+=")


class RarelyFilter(logging.Filter):
    """A filter that passes each message once per period, for loggers that repeat themselves every second."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._next: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Called with each record of a logger that has this filter."""
        # After the clock was set back, the stored time may be far in the future; then it doesn't count.
        if 0 < self._next.get(record.msg, 0) - record.created <= self.seconds:
            return False
        self._next[record.msg] = record.created + self.seconds
        return True


class FieldsFormatter(logging.Formatter):
    """A formatter of a message and the record's own fields: ``Drained action=drained published=2``."""

    def format(self, record: logging.LogRecord) -> str:
        """Called with each record."""
        return without_quoted_rows(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the parent's name
        """Called with a record after its ``message`` was set."""
        fields = [f"{key}={_on_one_line(value)}" for key, value in _fields(record).items()]
        return " ".join([super().formatMessage(record), *fields])


class JsonFormatter(logging.Formatter):
    """A formatter of one JSON object per line: ``at``, ``level``, ``message`` and the record's own fields."""

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
    """Return the value as text without line breaks, control characters, or anything like another field."""
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(value))
    return json.dumps(text, ensure_ascii=False) if FIELD.search(text) else text


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the record's own fields, without secrets."""
    own = {
        key: without_quoted_rows(value) if isinstance(value, str) else value
        for key, value in vars(record).items()
        if key not in COMMON
    }
    masked: dict[str, Any] = mask("", own)
    return masked
