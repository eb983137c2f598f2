"""Pages that say no, in plain words. They ask no database, and nobody's name: it may be that which failed."""

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from .policy import under_policy


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Say that a request makes no sense, or names a host that isn't served."""
    return _say(400, "That can't be asked", "The server can't make sense of this request.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Say that somebody may not do this."""
    return _say(403, "Not allowed", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Say that something isn't there: in the same words whether it isn't, or is somebody else's."""
    return _say(404, "Not found", "There is no such page, or you may not see it.")


def failed(request: HttpRequest) -> HttpResponseBase:
    """Say that it is the server's fault."""
    return _say(500, "That went wrong", "The server is at fault. It has been noted.")


def forged(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Say that a form isn't one of this session's: Django's word for it is CSRF."""
    words = (
        "The form is from before you last signed in, or your browser keeps no cookies for this site. "
        "Nothing was saved. Load the page again, and send it once more."
    )
    return _say(403, "This form is out of date", words)


def _say(status: int, title: str, words: str) -> HttpResponseBase:
    text = render_to_string("tickets/refusal.html", {"title": title, "words": words})
    return under_policy(HttpResponse(text, status=status), "'none'")
