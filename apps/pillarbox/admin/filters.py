"""The filters of the admin's list of rows. None of them reads the whole table to find its choices."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.text import Truncator

from ..models import STATES, OutboxQuerySet
from ..monitoring.causes import cause, causes

#: Always true. It lets PostgreSQL use the partial indexes; without it pending rows cost a full scan.
BY_SMALL_INDEXES = (
    Q(offset=None) | Q(offset__isnull=False, claims=0) | Q(offset__isnull=False, claims__gt=0)
)
MOST_CAUSES, LONGEST_NAME = 10, 60
#: The filters by object type and event offer the values of this many newest rows.
RECENT_ROWS = 10_000


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in STATES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        state, rows = self.value(), cast(OutboxQuerySet, queryset)
        if state not in STATES:
            return queryset
        chosen: QuerySet[Any] = getattr(rows, state)()
        return chosen.filter(BY_SMALL_INDEXES) if state == "pending" else chosen


class CauseFilter(admin.SimpleListFilter):
    """A filter for failed rows of one cause, chosen by its fingerprint."""

    title = "cause of failure"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        using = model_admin.get_queryset(request).db
        offered = {each.fingerprint: each for each in causes(using=using, most=MOST_CAUSES)}
        asked = request.GET.get(self.parameter_name)
        if asked is not None and asked not in offered and (found := cause(asked, using=using)):
            offered[asked] = found
        names = {
            print_: Truncator(each.name).chars(LONGEST_NAME) for print_, each in offered.items()
        }
        if asked is not None:
            names.setdefault(asked, "unknown")
        return list(names.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if asked is None:
            return queryset
        if "\0" in asked:
            return queryset.none()
        return cast(OutboxQuerySet, queryset).failed().filter(error_fingerprint=asked)


class _RecentFilter(admin.SimpleListFilter):
    """A filter by the values of a column in recent rows. A URL or the search also finds older values."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        recent = model_admin.get_queryset(request).order_by("-pk")[:RECENT_ROWS]
        column = str(self.parameter_name)
        values = {*recent.values_list(column, flat=True)}
        if (asked := request.GET.get(column)) is not None:
            values.add(asked)
        return [(value, value) for value in sorted(values)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        asked = self.value()
        if asked is None:
            return queryset
        if "\0" in asked:
            return queryset.none()
        return queryset.filter(**{str(self.parameter_name): asked})


class ObjectTypeFilter(_RecentFilter):
    title = "object type"
    parameter_name = "object_type"


class EventFilter(_RecentFilter):
    title = parameter_name = "event"


FILTERS: list[Any] = [StateFilter, CauseFilter, ObjectTypeFilter, EventFilter]
#: Failed rows are ordered by the index that finds them; other rows by primary key.
BY_FAILURE = ("-failed_at", "-id")


def ordering(request: HttpRequest) -> tuple[str, ...]:
    """Return the list's order, which an index serves: failed rows by failure, others newest first."""
    is_failed = request.GET.get("state") in ("failed", "unreplayed") or "cause" in request.GET
    return BY_FAILURE if is_failed else ("-id",)
