"""The request id, shared by a request's log lines, its outbox rows and their frames."""

import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar

from django.http import HttpRequest, HttpResponse

from ..capture.traces import traced
from ..logs import get_logger

logger = get_logger(__name__)

#: Format of an accepted id from a client or proxy; it can't forge log lines.
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")

_request_id: ContextVar[str] = ContextVar("request_id", default="")


class RequestsMiddleware:
    """A middleware that gives each request an id, returns it, and logs the outcome without the query."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Called with each request."""
        given, begun = request.headers.get("X-Request-ID", ""), time.monotonic()
        request_id = given if ACCEPTED_ID.fullmatch(given) else str(uuid.uuid4())
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
    """A log filter that adds the request's id. Django's last records come after the request has ended."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Called with each record of a handler that has this filter."""
        request_id = _request_id.get() or getattr(vars(record).get("request"), "request_id", "")
        if request_id:
            record.pillarbox_request_id = request_id
        return True
