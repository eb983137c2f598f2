"""Rendering of a batch of rows, outside of any transaction and without any lock."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from ...exceptions import ShardBusyError, UnreadableError
from ...models import TRUNCATE
from ...types.announcers import Announcer, event_of
from ...types.live_models import announcer_of
from ..epochs import renew_all_of
from ..redaction import without_values
from .deletions import deletion_results
from .follow_ups import lookup_results
from .locale import project_locale
from .object_rows import object_results
from .results import Rendered, Unrendered
from .session import raise_if_away, restored_session_after_batch


def render(rows: Sequence[Unrendered], *, using: str) -> list[Rendered]:
    """
    Render rows in the project's language and time zone; return one result for each row.

    If the project's code raises, the result is that error; if a value can't be read, an UnreadableError.
    Raises UnknownObjectTypeError for a row of a type that isn't registered here. Raises ShardBusyError if a
    TRUNCATE ends epochs whose lock isn't free in time, and the database's own errors if it is away.
    """
    by_type: dict[str, list[Unrendered]] = defaultdict(list)
    for row in rows:
        by_type[row.object_type].append(row)
    with restored_session_after_batch(using), project_locale():
        return [
            rendered
            for object_type, group in by_type.items()
            for rendered in _halved(announcer_of(object_type), group, using)
        ]


def _halved(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> list[Rendered]:
    """Return the results of rows of one type. If rendering them together fails, render each half alone."""
    try:
        return list(_of_type(announcer, rows, using))
    except ShardBusyError:
        raise
    except Exception as error:  # noqa: BLE001  # raised by a field of the project, or by the driver
        raise_if_away(error, using)
        if len(rows) == 1:
            # Nothing was read by which to redact the message.
            return [Rendered(row=rows[0], error=UnreadableError(without_values(error)))]
        middle = len(rows) // 2
        halves = rows[:middle], rows[middle:]
        return [rendered for half in halves for rendered in _halved(announcer, half, using)]


def _of_type(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> Iterator[Rendered]:
    """Yield the results of rows of one type."""
    yield from _truncated(announcer, [row for row in rows if row.event == TRUNCATE], using)
    rows = [row for row in rows if row.event != TRUNCATE]
    yield from lookup_results(announcer, [row for row in rows if row.lookup], using)
    rows = [row for row in rows if not row.lookup]
    deletion = event_of("DELETE", announcer.object_type)
    shown = [row for row in rows if row.event != deletion]
    ancestors_deletions = [row for row in rows if row.is_ancestors_deletion]
    others = sorted(set(rows) - {*shown, *ancestors_deletions})
    yield from deletion_results(announcer, others, using)
    yield from object_results(announcer, shown, ancestors_deletions, using)


def _truncated(announcer: Announcer, rows: Sequence[Unrendered], using: str) -> Iterator[Rendered]:
    """Renew the epochs of a truncated type's streams, because no row names the deleted objects."""
    if rows:
        renew_all_of([name for name, _ in announcer.stream_keys], using=using)
    for row in rows:
        yield Rendered(row=row)
