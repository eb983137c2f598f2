"""The SQL of one rule in a trigger function: it collects changes, and writes their rows."""

from ...models import RIGHTS, RIGHTS_SHARD
from ...types.announcers import event_of
from .conditions import fulfils
from .expressions import differs, literal, quoted, streams
from .function_templates import MOVES
from .names import JSON_NULLS, NESTED, NOW
from .partitions import PartitionSteps
from .row_templates import (
    END_OF_RIGHT,
    EVENT_ID,
    IMAGE,
    JSON_NULLS_OF_IMAGE,
    MOVED_ONLY,
    OBJECT,
    PART,
    SHARD,
    SHOWN,
    WRITE_ENDS,
    WRITE_MOVES,
    WRITE_MOVES_OF_PARTS,
    WRITE_OBJECTS,
    WRITE_SHOWN,
)
from .rules import Rule

#: The most columns that one call of `jsonb_build_object` takes.
COLUMNS = 50


def steps(rule: Rule, table: str, outbox: str, partition: PartitionSteps) -> tuple[str, str]:
    """Return the steps that collect a change, and those that write the collected changes."""
    events = {verb: event_of(verb, rule.object_type) for verb in ("CREATE", "UPDATE", "DELETE")}
    verbs = "{" + ",".join(events[verb] for verb in rule.verbs) + "}"
    gaps = {
        "outbox": outbox,
        "table": table,
        "object_type": rule.object_type,
        "event_id": EVENT_ID,
        "lookup": rule.lookup,
        "key": quoted(rule.key),
        "own": next((name for name, _ in rule.streams), ""),
        "shard": SHARD,
        "now": NOW,
        "now_streams": streams(rule, NOW),
        "is_ancestor": "false" if rule.is_object else "true",
        "operation": partition.operation,
        "effect": _effect(rule, partition),
        "now_fulfils": f" AND {fulfils(rule.where, NOW)}" if rule.where else "",
        "is_now": _is_now(rule),
        "nested": NESTED,
        "moves": _moves(rule, partition) if rule.move_columns else "",
        "image": _image(rule, partition) if rule.image else "",
        "before_insert": partition.before_insert,
        "after_insert": partition.after_insert,
        "verbs": verbs,
        "is_owner": str(rule.is_owner).lower(),
        "ended": "" if rule.is_owner else MOVED_ONLY.format(operation=partition.operation),
        "rights": RIGHTS,
        "rights_shard": RIGHTS_SHARD,
        "announced": f" AND event = ANY ('{verbs}')" if len(rule.verbs) < len(events) else "",
        **events,
    }
    collect, write = _templates(rule)
    return collect.format(**gaps), write.format(**gaps)


def _templates(rule: Rule) -> tuple[str, str]:
    """Return the templates of the steps that collect a change, and of those that write changes."""
    can_end = rule.is_owner or bool(rule.move_columns)
    if rule.ends_right:
        return END_OF_RIGHT, WRITE_ENDS
    if rule.is_part:
        return PART + (WRITE_MOVES_OF_PARTS if can_end else ""), ""
    if rule.is_object:
        return OBJECT, WRITE_OBJECTS + (WRITE_MOVES if can_end else "")
    return SHOWN, WRITE_SHOWN


def _moves(rule: Rule, partition: PartitionSteps) -> str:
    """Return the step that determines whether a change is a move."""
    return MOVES.format(
        effect=_effect(rule, partition),
        is_moved="moves OR " if partition.is_move else "",
        differs=differs(rule.move_columns),
    )


def _image(rule: Rule, partition: PartitionSteps) -> str:
    """Return the step that makes the image."""
    pairs = [f"{literal(column)}, NEW.{quoted(column)}" for column in rule.image]
    calls = (", ".join(pairs[at : at + COLUMNS]) for at in range(0, len(pairs), COLUMNS))
    image = " || ".join(f"jsonb_build_object({call})" for call in calls)
    return IMAGE.format(effect=_effect(rule, partition), image=image, json_nulls=_json_nulls(rule))


def _json_nulls(rule: Rule) -> str:
    """Return the step that lists the columns of an image that have a JSON null."""
    if not rule.json_columns:
        return ""
    values = {column: f"NEW.{quoted(column)}::jsonb" for column in rule.json_columns}
    columns = (f"CASE {value} WHEN 'null' THEN {literal(one)} END" for one, value in values.items())
    return JSON_NULLS_OF_IMAGE.format(
        values=", ".join(values.values()), columns=", ".join(columns), json_nulls=JSON_NULLS
    )


def _is_now(rule: Rule) -> str:
    """Return a condition that is true if the current row is the captured one."""
    now, new = (", ".join(f"{row}.{quoted(one)}" for one in rule.stored) for row in (NOW, "NEW"))
    return f"ROW({now})::record *= ROW({new})::record" if rule.stored else f"{NOW} *= NEW"


def _effect(rule: Rule, partition: PartitionSteps) -> str:
    """Return an expression for what a change does to the object: an INSERT, UPDATE or DELETE."""
    return "effect" if rule.where else partition.operation
