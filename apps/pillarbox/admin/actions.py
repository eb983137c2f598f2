"""The changelist's actions for announcing rows again. Each leads to the confirmation page."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from ..exceptions import CriteriaError
from ..replay.criteria import Criteria, search
from ..replay.permissions import may_replay

RESEND, CONFIRM = "resend", "admin:pillarbox_replay_confirm"
#: Parameters of the changelist's URL that are not filters.
NO_FILTERS = {"o", "p", "all", "e", "_facets", "_popup", "_to_field", "_changelist_filters"}


class ReplayActions:
    """The changelist's actions, for the selected rows or for all rows that match the filters."""

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return may_replay(request.user)

    def has_resend_permission(self, request: HttpRequest) -> bool:
        return may_replay(request.user, is_resend=True)

    def get_search_results(
        self, request: HttpRequest, queryset: Any, search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search with the same function as a replay, so that both find the same rows."""
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
        messages.error(request, f"These rows can't be selected: {error}")
        return None
    return redirect(f"{reverse(CONFIRM)}?{urlencode({**criteria.as_json(), **extra})}")
