"""The objects of a replay's candidates, as they are now."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import ValidationError

from ..types.announcers import Announcer
from ..types.current_rows import all_objects, locked_objects
from ..types.live_models import all_announcers
from .candidates import Candidate


def announcers_by_type() -> dict[str, Announcer]:
    """Return announcers by object type, without types that have several announcers."""
    found = all_announcers()
    counted = Counter(announcer.object_type for announcer in found)
    return {a.object_type: a for a in found if counted[a.object_type] == 1}


def current_objects(
    batch: Iterable[Candidate], known: Mapping[str, Announcer], is_trial: bool, using: str
) -> dict[tuple[str, str], Any]:
    """Return the candidates' existing objects by type and primary key, locked unless it is a trial."""
    keys: dict[str, set[Any]] = {}
    for candidate in batch:
        if candidate.object_type in known:
            keys.setdefault(candidate.object_type, set()).add(candidate.object_id)
    found: dict[tuple[str, str], Any] = {}
    # Sorted, so that concurrent replays lock in the same order.
    for name, texts in sorted(keys.items()):
        announcer = known[name]
        pks = {pk for text in texts if (pk := key_of(announcer.model, text)) is not None}
        if is_trial:
            there = {row.pk: row for row in all_objects(announcer, using).filter(pk__in=pks)}
        else:
            there = locked_objects(announcer, using, pk__in=pks)
        found |= {(name, str(pk)): row for pk, row in there.items()}
    return found


def key_of(model: Any, text: str) -> Any:
    """Return the primary key for a recorded text; None if the model's keys were of another type then."""
    try:
        return model._meta.pk.to_python(text)
    except ValidationError:
        return None
