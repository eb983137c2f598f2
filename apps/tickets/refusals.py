"""Error pages in plain words. They query no database and name no user, since either may have failed."""

from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from django.template.loader import render_to_string

from .policy import under_policy


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Show that the request is invalid, or names a host that isn't served."""
    return _error_page(400, "Bad request", "The server can't process this request.")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Show that the user may not do this."""
    return _error_page(403, "Not allowed", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Show that the page doesn't exist; the same page is shown for objects that the user may not see."""
    return _error_page(404, "Not found", "There is no such page, or you may not see it.")


def failed(request: HttpRequest) -> HttpResponseBase:
    """Show that the server failed."""
    return _error_page(500, "Server error", "The server failed. The error was logged.")


def forged(request: HttpRequest, reason: str = "") -> HttpResponseBase:
    """Show that the form has no valid CSRF token, or was sent from another address than the site's."""
    if "does not match any trusted origins" in reason:  # the log names the address
        text = (
            "Your browser sent this form from another address than the one at which the server believes to "
            "be. Nothing was saved. If you operate this site, look at the host and the port that the proxy "
            "passes on in the header Host (nginx: proxy_set_header Host $http_host), and at the scheme in "
            "X-Forwarded-Proto. The server's log has the form's address."
        )
        return _error_page(403, "This form is from another address", text)
    text = (
        "The form is from before you last signed in, or your browser keeps no cookies for this site. "
        "Nothing was saved. Reload the page, and send the form again."
    )
    return _error_page(403, "This form is out of date", text)


def too_many(seconds: int) -> HttpResponseBase:
    """Show that there were too many sign-in attempts, and when to try again."""
    answer = _error_page(429, "Too many attempts", f"Try to sign in again in {seconds} seconds.")
    answer["Retry-After"] = str(seconds)
    return answer


def _error_page(status: int, title: str, text: str) -> HttpResponseBase:
    page = render_to_string("tickets/refusal.html", {"title": title, "text": text})
    return under_policy(HttpResponse(page, status=status), "'none'")
