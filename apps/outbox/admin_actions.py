"""The changelist's actions about rows that are announced again: from rows to a confirmation."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from .criteria import Criteria, search
from .exceptions import CriteriaError

RESEND, CONFIRM = "resend", "admin:outbox_replay_confirm"
#: What the changelist has in its address besides filters.
NO_FILTERS = {"o", "p", "all", "e", "_facets", "_popup", "_to_field", "_changelist_filters"}


def may(user: Any, *, is_resend: bool) -> bool:
    """Whether somebody may decide about rows: they see them, and may replay or resend them."""
    verb = "resend" if is_resend else "replay"
    return bool(
        user.has_perm("outbox.view_notificationoutbox")
        and user.has_perm(f"outbox.{verb}_notificationoutbox")
    )


class ReplayActions:
    """The changelist's actions that lead to a confirmation, for a selection or for all that matches."""

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return may(request.user, is_resend=False)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return may(request.user, is_resend=True)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search as a replay of what is found will."""
        return search(queryset, search_term), False

    @admin.action(description="Replay the selected failed notifications…", permissions=["replay"])
    def replay_failed(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return _to_confirmation(request, {})

    @admin.action(
        description="Resend the selected published notifications…", permissions=["resend"]
    )
    def resend_published(self, request: HttpRequest, queryset: Any) -> HttpResponse | None:
        return _to_confirmation(request, {RESEND: "1"})


def _to_confirmation(request: HttpRequest, extra: Mapping[str, str]) -> HttpResponse | None:
    given: dict[str, Any] = {"pks": request.POST.getlist(ACTION_CHECKBOX_NAME)}
    if request.POST.get("select_across") == "1":
        given = {name: value for name, value in request.GET.items() if name not in NO_FILTERS}
    try:
        criteria = Criteria.parse(given)
    except CriteriaError as error:
        messages.error(request, f"Can't be decided about: {error}")
        return None
    return redirect(f"{reverse(CONFIRM)}?{urlencode({**criteria.as_json(), **extra})}")
