"""The Content-Security-Policy of the admin and the API: only files of this site, no injected scripts."""

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from rest_framework.response import Response

#: DRF's sign-in form has style attributes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
#: The only inline script of DRF's other pages, for signing out. They have inline styles, too.
SIGN_OUT = b'document.getElementById("logoutForm").submit()'
DIGEST = b64encode(sha256(SIGN_OUT).digest()).decode()
REST_POLICY = (
    POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
    + f"; script-src-attr 'unsafe-hashes' 'sha256-{DIGEST}'"
)
ERRORS = 400


class PolicyMiddleware:
    """A middleware that adds a policy to responses without one. The example's pages have a stricter one."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Called with each request."""
        response = self.get_response(request)
        # In debug mode, Django's error pages have inline scripts and styles.
        if not (settings.DEBUG and response.status_code >= ERRORS):
            policy = REST_POLICY if isinstance(response, Response) else POLICY
            response.headers.setdefault("Content-Security-Policy", policy)
        return response
