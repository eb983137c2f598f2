"""The pages' Content-Security-Policy: their own files and sockets only."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest
from django.http.request import split_domain_port
from django.http.response import HttpResponseBase

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {sockets}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

View = Callable[..., HttpResponseBase]


def with_policy(view: View) -> View:
    """Return a view whose pages load only their own files and run only their own scripts."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return under_policy(view(request, *args, **kwargs), sockets_url(request))

    return answer


def under_policy(response: HttpResponseBase, sockets: str) -> HttpResponseBase:
    """Return the response with a policy that allows these sockets (or ``'none'``), and without caching."""
    response["Content-Security-Policy"] = POLICY.format(sockets=sockets)
    response["Cache-Control"] = "no-store"
    return response


def sockets_url(request: HttpRequest) -> str:
    """Return the sockets' address: the page's host or, in debug mode, Daphne's own port."""
    host = request.get_host()
    if settings.DEBUG and isinstance(request, WSGIRequest):
        host = f"{split_domain_port(host)[0]}:{settings.DAPHNE_PORT}"
    return f"{'wss' if request.is_secure() else 'ws'}://{host}/ws/notifications/"
