"""The confirmation page of replays and resends: a preview of the rows, and the form to decide."""

import uuid
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.template.response import TemplateResponse

from ..exceptions import CriteriaError
from ..models import NotificationOutbox
from ..replay.criteria import LARGEST_PK, Criteria
from ..replay.decisions import decide
from ..replay.permissions import may_replay
from ..replay.preview import preview
from ..replay.replay import BATCH, carry_out
from .actions import RESEND

ROWS = "admin:pillarbox_notificationoutbox_changelist"
#: Seconds that the confirming request spends on a replay that fits into one batch.
AT_ONCE_SECONDS = 3.0


class DecisionForm(forms.Form):
    """The form of the confirmation page."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    last = forms.IntegerField(widget=forms.HiddenInput, min_value=0, max_value=LARGEST_PK)
    payload = forms.ChoiceField(
        label="Payload",
        widget=forms.RadioSelect,
        choices=[
            ("recorded", "As recorded: the object's state when the row was captured"),
            ("current", "Current state: the object's state now"),
        ],
        initial="recorded",
    )
    with_superseded = forms.BooleanField(
        label="Also superseded rows (a newer row of the same object exists)", required=False
    )
    reason = forms.CharField(
        label="Reason",
        help_text="For the log: what was fixed, or who asked for it.",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 60}),
    )


def confirm(model_admin: "admin.ModelAdmin[Any]", request: HttpRequest) -> HttpResponse:
    """Show a preview of the rows; on POST, record the decision and start the replay."""
    given = request.GET.dict()
    is_resend = given.pop(RESEND, "") == "1"
    if not may_replay(request.user, is_resend=is_resend):
        raise PermissionDenied
    using = NotificationOutbox.objects.db
    initial: dict[str, Any] = {"key": uuid.uuid4()}
    form = DecisionForm(request.POST or None, initial=initial)
    try:
        criteria = Criteria.parse(given)
        if request.method == "POST" and form.is_valid():
            return _decide(request, criteria, is_resend, form.cleaned_data, using)
        found = preview(criteria, is_resend=is_resend, using=using)
    except CriteriaError as error:
        messages.error(request, f"These rows can't be selected: {error}")
        return redirect(ROWS)
    initial["last"] = found.last
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Resend notifications" if is_resend else "Replay notifications",
        "opts": model_admin.opts,
        "is_resend": is_resend,
        "criteria": criteria,
        "preview": found,
        "form": form,
    }
    return TemplateResponse(request, "admin/pillarbox/replay/confirm.html", context)


def _decide(
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
        # The second batch finds no rows and so marks the replay as finished.
        carry_out(replay.pk, using=using, seconds=AT_ONCE_SECONDS)
    return to_progress(replay.pk)


def to_progress(key: uuid.UUID) -> HttpResponseRedirect:
    """Redirect to the page with a replay's progress."""
    return redirect("admin:pillarbox_replay_change", key)
