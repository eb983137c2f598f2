"""The responses to probes of load balancers and Prometheus: liveness, readiness, and metrics."""

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse

from .exposition import expose, is_allowed
from .readiness import readiness

METHODS = ("GET", "HEAD")


def probe_response(request: HttpRequest) -> HttpResponse | None:
    """Return the response to a probe, which nothing may cache; None if the request is no probe."""
    probe = PROBES.get(request.path_info)
    if probe is None or request.method not in METHODS:
        return None
    response = probe(request)
    response["Cache-Control"] = "no-store"
    return response


def healthz(request: HttpRequest) -> HttpResponse:
    """Return 200: the process answers. No other service is asked."""
    return JsonResponse({"alive": True})


def readyz(request: HttpRequest) -> HttpResponse:
    """Return 200 if the process can serve clients; 503 if it can't, or is stopping."""
    found = readiness(serves_sockets=hasattr(request, "scope"))
    return JsonResponse(found, status=200 if found["ready"] else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics; 404 without permission."""
    authorization = request.headers.get("Authorization", "")
    if not is_allowed(authorization, request.META.get("REMOTE_ADDR", "")):
        return HttpResponseNotFound()
    body, media_type = expose(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=media_type)


PROBES: Mapping[str, Callable[[HttpRequest], HttpResponse]] = {
    "/healthz": healthz,
    "/readyz": readyz,
    "/metrics": metrics,
}
