"""
Renewals: streams get a new epoch when a trigger begins to capture them.

Code that knows a new collection, or another column that payloads show, may run before the trigger that
captures it, or a trigger may have been missing for a while. Clients that subscribed meanwhile have missed
changes. The new epoch makes the server resync them.
"""

import re
from collections.abc import Iterable, Iterator

from ...models import RIGHTS, STREAMS
from ...types.live_models import all_announcers
from .conditions import fulfils
from .expressions import is_changed, key_value, quoted, stream
from .rules import Rule

# Streams are locked by name, as numbering locks them.
RENEW = f"""\
UPDATE {STREAMS} SET incarnation = gen_random_uuid() WHERE name = ANY (ARRAY(
    SELECT name FROM {STREAMS} WHERE split_part(name, ':', 1) IN ({{names}})
    ORDER BY name FOR UPDATE
))"""


#: The condition under which a part marks a change as a move.
MOVES = re.compile(r"BEGIN moves := (.*?); EXCEPTION")
#: What begins the part of a rule in a function's source; the object type follows.
PART = "    -- "


def renewals(rules: Iterable[Rule], source: str) -> tuple[str, ...]:
    """Return the SQL that renews the epochs of streams whose changes a function's source misses."""
    names = sorted({name for rule in rules for name in _missed(rule, source)})
    listed = ", ".join(f"'{name}'" for name in names)
    return (RENEW.format(names=listed),) if names else ()


def _missed(rule: Rule, source: str) -> Iterator[str]:
    """Yield the names of a rule's streams that missed changes; all of its type if objects of it did."""
    parts = [one for one in source.split(PART) if one.startswith(f"{rule.object_type}\n")]
    if not any(_captures(rule, part) for part in parts):
        if rule.ends_right:
            yield RIGHTS
        for announcer in all_announcers():
            if announcer.object_type == rule.object_type:
                yield from (name for name, _ in announcer.stream_keys)
    if parts and not any(_marks_moves(rule, part) for part in parts):
        yield RIGHTS
    for name, column in rule.streams:
        if not any(stream(rule, "NEW", name, column) in part for part in parts):
            yield name


def _captures(rule: Rule, part: str) -> bool:
    """Return whether a part of a source captures the same changes of the same objects."""
    own = [stream(rule, "NEW", name, column) for name, column in rule.streams[:1]]
    condition = [f"is_in := {fulfils(rule.where, 'NEW')};"] if rule.where else []
    needed = [
        f"BEGIN counts := {is_changed(rule)}; EXCEPTION",
        f"new_key := {key_value(rule, 'NEW', rule.key)};",
        *own,
        *condition,
    ]
    has_all = all(sql in part for sql in needed) and bool(rule.where) == ("is_in := " in part)
    return has_all and _marks_moves(rule, part)


def _marks_moves(rule: Rule, part: str) -> bool:
    """
    Return whether a part of a source marks a change of each column that decides who may see an object.

    Collections don't count: a new one is a new stream.
    """
    found = MOVES.search(part)
    marked = found[1] if found else ""
    deciding = set(rule.move_columns).difference(column for _, column in rule.streams)
    return rule.ends_right or all(f"OLD.{quoted(column)}" in marked for column in deciding)
