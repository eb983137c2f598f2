"""Replays in the admin: their log, and the page with the progress of one."""

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from ..models import Replay
from ..replay.criteria import Criteria
from ..replay.decisions import cancel
from ..replay.permissions import may_replay
from .actions import CONFIRM, RESEND
from .confirmation import confirm, to_progress

#: A replay that hasn't begun after this time suggests that no worker runs.
UNSTARTED = timedelta(seconds=15)


@admin.register(Replay)
class ReplayAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The read-only log of replays and resends."""

    list_display = ["created_at", "decision", "rows_meant", "by_name", "reason", "progress"]
    list_display_links = ["created_at", "decision"]
    search_fields = ["reason", "by_name"]
    ordering = ["-created_at"]
    list_per_page = 50
    actions = None

    def get_urls(self) -> list[Any]:
        confirm = self.admin_site.admin_view(self.confirm)
        cancel_ = self.admin_site.admin_view(require_POST(self.cancel))
        return [
            path("confirm/", confirm, name="pillarbox_replay_confirm"),
            path("<uuid:key>/cancel/", cancel_, name="pillarbox_replay_cancel"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # An operator who may start a replay must be able to watch it.
        user = request.user
        both = may_replay(user) or may_replay(user, is_resend=True)
        return both or super().has_view_permission(request, obj)

    @admin.display(description="decision", ordering="is_resend")
    def decision(self, replay: Replay) -> str:
        what = "current state" if replay.is_current else "as recorded"
        return f"{replay.verb}, {what}"

    @admin.display(description="rows")
    def rows_meant(self, replay: Replay) -> str:
        return f"{replay.total}: {Criteria.parse(replay.criteria)}"[:120]

    @admin.display(description="progress")
    def progress(self, replay: Replay) -> str:
        share = 100 * replay.examined // replay.total if replay.total else 100
        if replay.finished_at is not None:
            return f"{replay.announced} announced"
        return f"cancelled at {share} %" if replay.is_over else f"{share} %"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the progress of a replay."""
        replay: Any = self.get_object(request, object_id)
        if not self.has_view_permission(request, replay):
            raise PermissionDenied
        if replay is None:
            raise Http404("There is no such replay.")
        criteria = Criteria.parse(replay.criteria)
        rest = replace(criteria, after=max(criteria.after, replay.position)).as_json()
        extra = {RESEND: "1"} if replay.is_resend else {}
        context = {
            **self.admin_site.each_context(request),
            "title": f"{replay.verb} of {replay.total} rows",
            "opts": self.opts,
            "replay": replay,
            "criteria": criteria,
            "refusals": sorted(replay.refusals.items(), key=lambda item: -item[1]),
            "is_unstarted": replay.position == 0 and timezone.now() - replay.created_at > UNSTARTED,
            "may_decide": may_replay(request.user, is_resend=replay.is_resend),
            "rest": f"{reverse(CONFIRM)}?{urlencode({**rest, **extra})}",
        }
        return TemplateResponse(request, "admin/pillarbox/replay/progress.html", context)

    def cancel(self, request: HttpRequest, key: uuid.UUID) -> HttpResponse:
        """Cancel a replay; rows that it has announced stay announced."""
        replay: Any = self.get_object(request, str(key))
        if replay is None or not may_replay(request.user, is_resend=replay.is_resend):
            raise PermissionDenied
        by: Any = request.user
        if cancel(key, by=by, using=replay._state.db):
            messages.success(request, "Cancelled. Rows announced so far stay announced.")
        else:
            messages.warning(request, "The replay had already ended.")
        return to_progress(key)

    def confirm(self, request: HttpRequest) -> HttpResponse:
        """Show the confirmation page, and accept its form."""
        return confirm(self, request)
