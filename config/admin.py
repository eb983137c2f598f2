"""The admin site. Invalid lookups redirect to the whole list, and sign-ins are limited."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.views.main import ERROR_FLAG
from django.db import DataError, ProgrammingError
from django.http import HttpRequest, HttpResponseRedirect

from apps.tickets.throttling import throttled
from pillarbox.logs import get_logger

logger = get_logger(__name__)

View = Callable[..., Any]

#: Errors of invalid lookups in addresses: no value of the type, one end of a range, a function that the
#: database lacks.
REFUSED = (DataError, ProgrammingError, ValueError, OverflowError, IndexError)


class NotifierAdminSite(AdminSite):
    """Django's admin site, which tolerates invalid lookups in addresses and limits sign-ins."""

    def admin_view(self, view: Any, cacheable: bool = False) -> Any:
        """Wrap each view of the admin."""
        return super().admin_view(_tolerant(view), cacheable)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the sign-in form, or sign in."""
        return throttled(super().login)(request, extra_context)


def _tolerant(view: View) -> View:
    """Return a view that redirects an invalid lookup to the list, as Django does with unparsable ones."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            return view(request, *args, **kwargs)
        except REFUSED as error:
            # Without a lookup, or after a redirect, the error is ours.
            if request.method != "GET" or set(request.GET) <= {ERROR_FLAG}:
                raise
            extra = {
                "action": "lookup_refused",
                "path": request.path,
                "error": type(error).__name__,
            }
            logger.warning("An address has an invalid lookup", extra=extra)
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    return answer
