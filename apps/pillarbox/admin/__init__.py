"""The outbox in the admin: staff read, search and replay rows."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from ..models import NotificationOutbox
from ..stream.redaction import readable
from . import replay as admin_replay  # noqa: F401  # registers the admin of replays
from .actions import ReplayActions
from .dashboard import Dashboard
from .filters import FILTERS, ordering


@admin.register(NotificationOutbox)
class NotificationOutboxAdmin(ReplayActions, Dashboard):
    list_display = ["id", "outcome", "event", "stream", "error", "attempts", "offset", "age"]
    list_filter = FILTERS
    search_fields = ["stream", "event", "^event_id", "error_type", "error_message"]
    search_help_text = "Stream (ticket:7), event (UPDATE_TICKET), event id, or words of the error"
    list_per_page = 50
    show_full_result_count = False
    actions = ["replay_failed", "resend_published"]
    fieldsets = [
        (
            None,
            {"fields": ["event", "stream", "offset", "outcome", "event_id", "readable_payload"]},
        ),
        ("Object", {"fields": ["object_type", "object_id"]}),
        (
            "Lifecycle",
            {
                "fields": [
                    "created_at",
                    "available_at",
                    "obsolete_at",
                    "published_at",
                    "failed_at",
                    "claims",
                    "attempts",
                    "shard",
                ]
            },
        ),
        ("Error", {"fields": ["error_type", "error_message", "readable_traceback"]}),
        ("Replay", {"fields": ["replayed_at", "replayed_by", "replayed_as", "replays", "repeats"]}),
    ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        # Django lets a URL filter by any column. A filter on content would let users guess a redacted
        # secret letter by letter.
        is_content = lookup.startswith(("payload", "image"))
        return not is_content and super().lookup_allowed(lookup, value, request)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Return the order of the list, newest rows first."""
        return ordering(request)

    @admin.display(description="state")
    def outcome(self, row: NotificationOutbox) -> str:
        return row.state if row.replayed_at is None else f"{row.state}, replayed"

    @admin.display(description="age", ordering="created_at")
    def age(self, row: NotificationOutbox) -> str:
        return timesince(row.created_at, depth=1)

    @admin.display(description="error")
    def error(self, row: NotificationOutbox) -> str:
        if not row.error_type:
            return ""
        message = row.error_message.partition("\n")[0][:80]
        return f"{row.error_type.rpartition('.')[2]}: {message}"

    @admin.display(description="payload")
    def readable_payload(self, row: NotificationOutbox) -> SafeString:
        if row.payload is None:
            return format_html("{}", _why_without_payload(row))
        return format_html("<pre>{}</pre>", readable(row.object_type, row.payload))

    @admin.display(description="traceback")
    def readable_traceback(self, row: NotificationOutbox) -> SafeString:
        return format_html("<pre>{}</pre>", row.error_traceback)

    @admin.display(description="replays")
    def replays(self, row: NotificationOutbox) -> str:
        original = NotificationOutbox.objects.filter(replayed_as=row.pk).first()
        if original is None:
            return ""
        url = reverse("admin:pillarbox_notificationoutbox_change", args=[original.pk])
        return format_html('<a href="{}">row {}</a>', url, original.pk)


def _why_without_payload(row: NotificationOutbox) -> str:
    """Return why the row has no payload. The page never shows the row's image."""
    if row.obsolete_at is not None:
        return "Obsolete: the object was deleted or moved before this row was rendered, or it was erased."
    if row.failed_at is not None:
        return "Rendering failed: see the error. A replay renders the row again."
    return "Not rendered yet."
