"""The last ends of rights: rows that were committed before them were written under other rights."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from django.core.exceptions import FieldError, ValidationError
from django.db import connections

from ..models import OUTBOX, RIGHTS, RIGHTS_SHARD
from .commit_snapshots import CommitSnapshot
from .ends_of_rights import Object

# A union, because PostgreSQL then uses the index `pillarbox_rights` for each part. A snapshot of
# the future is another cluster's, from a dump.
LAST = f"""
SELECT DISTINCT ON (object_type, lookup, object_id) object_type, lookup, object_id, "offset",
    pg_snapshot_xmax((payload ->> 'committed')::pg_snapshot) > pg_snapshot_xmax(pg_current_snapshot()),
    payload ->> 'committed', payload ->> 'at'
FROM (
    SELECT * FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD} AND object_type = '{RIGHTS}' AND lookup = ''
    AND object_id IN (%(user)s, '')
    UNION ALL SELECT * FROM {OUTBOX} WHERE shard = {RIGHTS_SHARD} AND object_type = ANY(%(types)s)
    AND lookup > ''
    UNION ALL SELECT row.* FROM unnest(%(names)s::text[], %(keys)s::text[]) AS asked (name, key)
    JOIN {OUTBOX} AS row ON shard = {RIGHTS_SHARD} AND object_type = name AND lookup = '' AND object_id = key
) AS ends ORDER BY object_type, lookup, object_id, "offset" DESC NULLS FIRST
"""


class LastEnds:
    """The last end for a user, and for each of some objects, that retention still keeps."""

    def __init__(self, users: Any, objects: Collection[Object], *, using: str) -> None:
        self._of_user: list[tuple[float, CommitSnapshot]] = []
        self._of_objects: dict[str, list[tuple[str, float, CommitSnapshot]]] = defaultdict(list)
        user = users.get()
        values: dict[str, Any] = {
            "user": str(user.pk),
            "types": [RIGHTS, *{name for name, _ in objects}],
            "names": [name for name, _ in objects],
            "keys": [key for _, key in objects],
        }
        with connections[using].cursor() as cursor:
            cursor.execute(LAST, values)
            found = cursor.fetchall()
        by_lookup: dict[str, set[str]] = defaultdict(set)
        for object_type, lookup, key, *_ in found:
            if object_type == RIGHTS and lookup:
                by_lookup[lookup].add(key)
        users_own = {one: _found(users, one, values) for one, values in by_lookup.items()}
        for object_type, lookup, key, offset, is_foreign, *snapshot in found:
            # An end without an offset is newer than all that have one.
            known = (
                float("inf") if offset is None else offset,
                CommitSnapshot.now(using=using)
                if offset is None or is_foreign
                else CommitSnapshot(*snapshot),
            )
            if object_type != RIGHTS:
                # An end with a lookup counts for every object of the type, without a query for its objects.
                self._of_objects[object_type].append(("" if lookup else key, *known))
            elif not lookup or key in users_own[lookup]:
                self._of_user.append(known)

    def last_snapshot(self, objects: Iterable[Object]) -> CommitSnapshot | None:
        """Return the snapshot of the last end of a right of the user or of one of the objects, or None."""
        return _last([*self._of_user, *self._of(objects)])

    def last_snapshot_of(self, one: Object) -> CommitSnapshot | None:
        """Return the snapshot of the last end that names an object, or None."""
        return _last([*self._of([one])])

    def _of(self, objects: Iterable[Object]) -> Iterator[tuple[float, CommitSnapshot]]:
        for name, key in objects:
            for of, offset, snapshot in self._of_objects.get(name, ()):
                if of in (key, ""):
                    yield offset, snapshot


def _last(found: Sequence[tuple[float, CommitSnapshot]]) -> CommitSnapshot | None:
    return max(found, key=lambda one: one[0])[1] if found else None


def _found(users: Any, lookup: str, values: Collection[str]) -> set[str]:
    """Return the values by which a lookup finds the user; all, if another version wrote the lookup."""
    try:
        found = users.filter(**{f"{lookup}__in": values})
        return set(map(str, found.values_list(lookup, flat=True)))
    except (FieldError, ValidationError, ValueError):
        return set(values)
