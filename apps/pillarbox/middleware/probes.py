"""The middleware that answers ``/healthz``, ``/readyz`` and ``/metrics``."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from ..monitoring.probes.responses import probe_response


class ProbesMiddleware:
    """
    A middleware that answers probes before any other middleware sees the request, if it comes first.

    Load balancers use the machine's address, without TLS, and would be redirected or refused.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Called with each request."""
        return probe_response(request) or self.get_response(request)
