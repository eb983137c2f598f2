"""How a log record looks on the console."""

import logging

#: What every record has; the rest came with ``extra``.
COMMON = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "data"}


class FieldsFormatter(logging.Formatter):
    """A sentence, then the record's own fields: ``Drained action=drained published=2``."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the parent's name
        """Called with a record whose ``message`` is set."""
        fields = [f"{key}={value}" for key, value in vars(record).items() if key not in COMMON]
        return " ".join([super().formatMessage(record), *fields])
