"""How a log record looks on the console."""

import logging

#: What every record has; the rest came with ``extra``.
COMMON = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "data"}


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

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the parent's name
        """Called with a record whose ``message`` is set."""
        fields = [f"{key}={value}" for key, value in vars(record).items() if key not in COMMON]
        return " ".join([super().formatMessage(record), *fields])
