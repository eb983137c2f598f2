"""One id for a request, its log lines, the rows that it writes and the frames that come of them."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from apps.outbox.traces import traced

logger = logging.getLogger(__name__)

#: What an id may be that a client, or a proxy, gives: nothing that a log could be forged with.
SANE = re.compile(r"[A-Za-z0-9._:-]{8,64}")

_request_id: ContextVar[str] = ContextVar("request_id", default="")


class RequestsMiddleware:
    """Names each request, in the answer, too, and says in the log how it went, without its query."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Called with each request."""
        given, begun = request.headers.get("X-Request-ID", ""), time.monotonic()
        request_id = given if SANE.fullmatch(given) else str(uuid.uuid4())
        request.request_id = request_id  # type: ignore[attr-defined]
        token = _request_id.set(request_id)
        try:
            with traced(request_id) as mark:
                response = self.get_response(request)
            extra = {
                "action": "request",
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "milliseconds": round((time.monotonic() - begun) * 1000),
                "events": mark,
            }
            logger.info("Request", extra=extra)
        finally:
            _request_id.reset(token)
        response["X-Request-ID"] = request_id
        return response


class RequestFilter(logging.Filter):
    """Gives each record of a request its id; Django's last ones come when the request is over."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Called with each record of a handler that has this filter."""
        request_id = _request_id.get() or getattr(vars(record).get("request"), "request_id", "")
        if request_id:
            record.request_id = request_id
        return True
