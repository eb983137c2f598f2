"""Django's error reports, without secrets in errors and variables."""

from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import ExceptionReporter, SafeExceptionReporterFilter

from pillarbox.stream.redaction import REDACTED, SECRET, mask, without_quoted_rows

#: Modules whose variables hold payloads, rows and envelopes; and modules that pass them to whatever they
#: call, so that their callees' variables are hidden, too.
OURS = ("pillarbox",)
CARRIERS = (
    "pillarbox.capture.notification",
    "pillarbox.layer",
    "pillarbox.relay",
    "pillarbox.server",
    "pillarbox.sockets",
    "pillarbox.types",
)


class Report(ExceptionReporter):
    """Django's error report, without the rows that PostgreSQL quotes in its errors."""

    def get_traceback_data(self) -> dict[str, Any]:
        """Called for each report."""
        found: dict[str, Any] = super().get_traceback_data()
        if "exception_value" in found:
            # Django 5.2 gives the text of the exception, later versions the exception.
            found["exception_value"] = without_quoted_rows(str(found["exception_value"]))
        for frame in found["frames"]:
            if frame["exc_cause"] is not None:
                frame["exc_cause"] = without_quoted_rows(str(frame["exc_cause"]))
        return found


class ReportFilter(SafeExceptionReporterFilter):
    """Django's filter of settings and variables, active in debug mode, too."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Called for each report. Django's filter is inactive in debug mode."""
        return True

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> Any:
        """Called for each frame of a traceback."""
        found: list[tuple[str, Any]] = list(
            super().get_traceback_frame_variables(request, tb_frame)
        )
        is_hidden = _is_of(tb_frame, OURS) or _is_called_by(tb_frame, CARRIERS)
        return [(name, REDACTED if is_hidden else _masked(name, value)) for name, value in found]


def _is_called_by(frame: FrameType, modules: tuple[str, ...]) -> bool:
    caller = frame.f_back
    while caller is not None and not _is_of(caller, modules):
        caller = caller.f_back
    return caller is not None


def _is_of(frame: FrameType, modules: tuple[str, ...]) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith(modules)


def _masked(name: str, value: Any) -> Any:
    if SECRET.search(name):
        return REDACTED
    return without_quoted_rows(repr(value)) if isinstance(value, Exception) else mask("", value)
