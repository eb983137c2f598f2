"""What balancers and Prometheus ask: whether a process lives, whether it can serve, what it counted."""

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse

from workers.exposition import expose, is_allowed
from workers.readiness import readiness

Answer = Callable[[HttpRequest], HttpResponse]


class ProbesMiddleware:
    """
    Answers before anything else looks at a request.

    A balancer asks by the address of the machine, without TLS: it would be redirected, or refused.
    """

    def __init__(self, get_response: Answer) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Called with each request."""
        probe = PROBES.get(request.path_info)
        if probe is None or request.method not in ("GET", "HEAD"):
            return self.get_response(request)
        response = probe(request)
        response["Cache-Control"] = "no-store"
        return response


def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers. It asks nobody else."""
    return JsonResponse({"alive": True})


def readyz(request: HttpRequest) -> HttpResponse:
    """The process can serve clients; 503 if it can't, or won't for long."""
    found = readiness(serves_sockets=hasattr(request, "scope"))
    return JsonResponse(found, status=200 if found["ready"] else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """What Prometheus reads; who may not sees that there is nothing."""
    authorization = request.headers.get("Authorization", "")
    if not is_allowed(authorization, request.META.get("REMOTE_ADDR", "")):
        return HttpResponseNotFound()
    body, media_type = expose(request.headers.get("Accept", ""))
    return HttpResponse(body, content_type=media_type)


PROBES: Mapping[str, Answer] = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
