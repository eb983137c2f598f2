"""Replays in the admin: a confirmation, and from there a page that shows how far it came."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone
from django.views.decorators.http import require_POST

from .admin_actions import CONFIRM, RESEND, may
from .criteria import LARGEST_PK, Criteria
from .exceptions import CriteriaError
from .models import NotificationOutbox, Replay
from .preview import preview
from .replay import BATCH, cancel, carry_out, decide

ROWS = "admin:outbox_notificationoutbox_changelist"
#: A replay of so few rows is carried out while its page is loaded, in so many seconds.
AT_ONCE_SECONDS = 3.0
#: A replay that nobody has begun after so long looks as if no worker ran.
LONELY = timedelta(seconds=15)


class DecisionForm(forms.Form):
    """What an operator decides on the confirmation page."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    last = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=LARGEST_PK)
    payload = forms.ChoiceField(
        label="What is announced",
        widget=forms.RadioSelect,
        choices=[
            ("recorded", "As recorded: what was true when it was captured"),
            ("current", "Current state: what is true of the object now"),
        ],
        initial="recorded",
    )
    with_superseded = forms.BooleanField(
        label="Also rows that newer ones of the same object follow", required=False
    )
    reason = forms.CharField(
        label="Reason",
        help_text="For the log: what was mended, or who asked for it.",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60}),
    )


@admin.register(Replay)
class ReplayAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The decisions that were made: a log that nobody edits."""

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
            path("confirm/", confirm, name="outbox_replay_confirm"),
            path("<uuid:key>/cancel/", cancel_, name="outbox_replay_cancel"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Whoever may decide must see what becomes of it.
        user = request.user
        both = may(user, is_resend=False) or may(user, is_resend=True)
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
        share = 100 * replay.looked_at // replay.total if replay.total else 100
        if replay.finished_at is not None:
            return f"{replay.announced} announced"
        return f"cancelled at {share} %" if replay.is_over else f"{share} %"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show how far a replay came."""
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
            "is_lonely": replay.position == 0 and timezone.now() - replay.created_at > LONELY,
            "may_decide": may(request.user, is_resend=replay.is_resend),
            "rest": f"{reverse(CONFIRM)}?{urlencode({**rest, **extra})}",
        }
        return TemplateResponse(request, "admin/outbox/replay/progress.html", context)

    def cancel(self, request: HttpRequest, key: uuid.UUID) -> HttpResponse:
        """End a replay where it is."""
        replay: Any = self.get_object(request, str(key))
        if replay is None or not may(request.user, is_resend=replay.is_resend):
            raise PermissionDenied
        by: Any = request.user
        if cancel(key, by=by, using=replay._state.db):
            messages.success(request, "Cancelled. What was announced stays announced.")
        else:
            messages.warning(request, "It was over before it could be cancelled.")
        return _to_progress(key)

    def confirm(self, request: HttpRequest) -> HttpResponse:
        """Show what a decision would be about; take the decision."""
        given = request.GET.dict()
        is_resend = given.pop(RESEND, "") == "1"
        if not may(request.user, is_resend=is_resend):
            raise PermissionDenied
        using = NotificationOutbox.objects.db
        initial: dict[str, Any] = {"key": uuid.uuid4()}
        form = DecisionForm(request.POST or None, initial=initial)
        try:
            criteria = Criteria.parse(given)
            if request.method == "POST" and form.is_valid():
                return self._decide(request, criteria, is_resend, form.cleaned_data, using)
            found = preview(criteria, is_resend=is_resend, using=using)
        except CriteriaError as error:
            messages.error(request, f"Can't be decided about: {error}")
            return redirect(ROWS)
        initial["last"] = found.last
        context = {
            **self.admin_site.each_context(request),
            "title": "Resend notifications" if is_resend else "Replay notifications",
            "opts": self.opts,
            "is_resend": is_resend,
            "criteria": criteria,
            "preview": found,
            "form": form,
        }
        return TemplateResponse(request, "admin/outbox/replay/confirm.html", context)

    def _decide(
        self,
        request: HttpRequest,
        criteria: Criteria,
        is_resend: bool,
        decision: Mapping[str, Any],
        using: str,
    ) -> HttpResponse:
        by: Any = request.user
        replay = decide(
            criteria,
            key=decision["key"],
            by=by,
            reason=decision["reason"],
            last=decision["last"],
            is_resend=is_resend,
            is_current=decision["payload"] == "current",
            with_superseded=decision["with_superseded"],
            using=using,
        )
        if replay.total <= BATCH:
            # The second batch finds nothing, and finishes it.
            carry_out(replay.pk, using=using, seconds=AT_ONCE_SECONDS)
        return _to_progress(replay.pk)


def _to_progress(key: uuid.UUID) -> HttpResponseRedirect:
    return redirect("admin:outbox_replay_change", key)
