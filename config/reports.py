"""What Django's reports of errors show of the variables in a traceback: nothing that is a secret."""

from types import FrameType
from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter

from apps.outbox.redaction import REDACTED, SECRET, mask

#: Where payloads pass through.
ROOMS = ("apps.outbox", "apps.realtime", "workers")


class ReportFilter(SafeExceptionReporterFilter):
    """Django's, which hides settings, and hides variables also while debugging."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Called for each report; Django's is active in deployments only."""
        return True

    def get_traceback_frame_variables(
        self, request: HttpRequest | None, tb_frame: FrameType
    ) -> Any:
        """Called for each frame of a traceback."""
        found: list[tuple[str, Any]] = list(
            super().get_traceback_frame_variables(request, tb_frame)
        )
        module = str(tb_frame.f_globals.get("__name__", ""))
        is_ours = module.startswith(ROOMS)
        return [(name, REDACTED if is_ours else _masked(name, value)) for name, value in found]


def _masked(name: str, value: Any) -> Any:
    return REDACTED if SECRET.search(name) else mask("", value)
