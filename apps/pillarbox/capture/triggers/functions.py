"""The SQL of the trigger functions, made from rules, without a query to the database."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ...models import RIGHTS, RIGHTS_SHARD, TRUNCATE, shard_of
from ...types.announcers import event_of
from .conditions import fulfils
from .expressions import is_changed, key_value, key_value_of_json, quoted, streams, streams_of_json
from .function_templates import (
    ANEW,
    COLLECT,
    CONDITION,
    EACH_OF_STATEMENT,
    EACH_ROW,
    EMPTY,
    EXPIRY,
    FUNCTION,
    OUTSIDE,
)
from .names import CHANGED, LABEL, MUTED, NESTED, REPLACED, SEARCH_PATH, function_name
from .partitions import PartitionSteps, partition_steps
from .rule_steps import steps
from .rules import Rule

#: Changes are collected until there are this many, or one has an image of more than this many bytes.
BATCH, LARGE = 500, 65_536


def function_sql(
    *,
    function: str,
    table: str,
    outbox: str,
    rules: Sequence[Rule],
    is_partitioned: bool = False,
    by_row: bool = False,
) -> str:
    """
    Return the SQL that creates a table's trigger function. All three names are quoted for SQL.

    It is called for each row if ``by_row`` or ``is_partitioned`` is true, otherwise for each statement.
    """
    partition = _partition_steps(table, outbox, rules) if is_partitioned else PartitionSteps()
    if is_partitioned:  # an UPDATE may move a row to another partition, by a DELETE and an INSERT
        rules = [replace(rule, is_link=True) for rule in rules]
    each = EACH_ROW if by_row or is_partitioned else EACH_OF_STATEMENT
    return FUNCTION.format(
        function=function,
        search_path=SEARCH_PATH,
        quote=_quote(rules),
        muted=MUTED,
        nested=NESTED,
        outbox=outbox,
        outbox_text=outbox.replace("'", "''"),
        TRUNCATE=TRUNCATE,
        truncated=", ".join(sorted({row for rule in rules for row in _truncated(rule)})),
        rules=ANEW.join(_rule(rule, each, table, outbox, partition) for rule in rules),
        variables=partition.variables,
        take_back=partition.take_back,
        keep=partition.keep,
    )


def _quote(rules: Sequence[Rule]) -> str:
    """Return a dollar quote for the function's source. No value in a condition contains it."""
    quote = f"${LABEL}$"
    while any(quote in rule.where for rule in rules):
        quote = f"{quote[:-1]}_$"
    return quote


def _truncated(rule: Rule) -> Iterator[str]:
    """Yield the rows, as SQL, that a TRUNCATE writes: one renews a type's epochs, and one ends rights."""
    if not rule.ends_right:
        stream = f"{rule.object_type}/"
        yield f"('{stream}', {shard_of(stream)}, '{rule.object_type}', NULL)"
    if rule.ends_right or rule.is_owner:
        yield f"('{RIGHTS}', {RIGHTS_SHARD}, '{RIGHTS}', '{{}}')"


def _partition_steps(table: str, outbox: str, rules: Sequence[Rule]) -> PartitionSteps:
    """Return the steps for partitions; none if no rule is about an object: all its changes are UPDATEs."""
    keys = sorted({quoted(rule.key) for rule in rules if rule.is_object or rule.is_part})
    setting = f"{LABEL}.{function_name(table)}"
    return (
        partition_steps(keys=keys, setting=setting, table=table, outbox=outbox)
        if keys
        else PartitionSteps()
    )


def _rule(rule: Rule, each: str, table: str, outbox: str, partition: PartitionSteps) -> str:
    collect, write = steps(rule, table, outbox, partition)
    return each.format(
        object_type=rule.object_type,
        changed=CHANGED,
        replaced=REPLACED,
        collect=_collect(rule, collect, partition),
        write=write,
        batch=BATCH,
        large=LARGE,
        empty=EMPTY,
    )


def _counts(rule: Rule) -> str:
    """Return a condition that is true if a row that is inserted or deleted counts."""
    if rule.is_object:
        return "true" if "CREATE" in rule.verbs else "TG_OP <> 'INSERT'"
    return str(rule.is_part or rule.is_link).lower()


def _condition(rule: Rule, partition: PartitionSteps) -> str:
    """Return the step that determines whether the row was and is an object."""
    return CONDITION.format(
        operation=partition.operation,
        old_fulfils=fulfils(rule.where, "OLD"),
        new_fulfils=fulfils(rule.where, "NEW"),
    )


def _outside(rule: Rule) -> str:
    """Return the step that makes a creation or a deletion of a change."""
    verbs = ("CREATE", "UPDATE", "DELETE")
    return OUTSIDE.format(**{verb: event_of(verb, rule.object_type) for verb in verbs})


def _collect(rule: Rule, body: str, partition: PartitionSteps) -> str:
    """Return the steps that decide whether a change counts, and collect it."""
    return COLLECT.format(
        operation=partition.operation,
        is_move=partition.is_move,
        counts=_counts(rule),
        differs=is_changed(rule),
        condition=_condition(rule, partition) if rule.where else "",
        outside=_outside(rule) if rule.where else "",
        expiry=EXPIRY.format(expires=quoted(rule.expires)) if rule.expires else "",
        old_key=key_value(rule, "OLD", rule.key),
        new_key=key_value(rule, "NEW", rule.key),
        old_key_of_json=key_value_of_json(rule, "OLD", rule.key),
        new_key_of_json=key_value_of_json(rule, "NEW", rule.key),
        old_streams=streams(rule, "OLD"),
        new_streams=streams(rule, "NEW"),
        old_streams_of_json=streams_of_json(rule, "OLD"),
        new_streams_of_json=streams_of_json(rule, "NEW"),
        body=body,
    )
