"""The SQL of the trigger functions, made from rules. Nothing here asks a database."""

import hashlib
from collections.abc import Iterable, Sequence

from ..announcers import event_of
from ..models import SHARDS, NotificationOutbox
from .rules import Rule

#: Settings local to a transaction: whether capture is muted, the mark of a trace, whether a trigger wrote.
MUTED, TRACE, NESTED = "pillarbox.muted", "pillarbox.trace", "pillarbox.nested"
OUTBOX = NotificationOutbox._meta.db_table
#: The label that all names of ours begin with.
LABEL = "pillarbox"

# SET makes values come back from JSON as they were, whatever the session has set. A trigger of the project
# that writes the row again fires its own capture first: the outer one then sees a version that is gone.
FUNCTION = """\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 AS $pillarbox$
DECLARE
    counts boolean; moves boolean; is_last boolean := true; image jsonb; event_id uuid;
    old_key text; new_key text; left_streams text[]; streams text[];
BEGIN
    IF current_setting('{muted}', true) = 'on' OR TG_OP = 'UPDATE' AND OLD *= NEW THEN
        RETURN NULL;
    END IF;
    IF pg_trigger_depth() > 1 THEN PERFORM set_config('{nested}', 'on', true); END IF;
    IF TG_OP <> 'DELETE' AND current_setting('{nested}', true) = 'on' THEN
        is_last := EXISTS (SELECT FROM {table} WHERE tableoid = NEW.tableoid AND ctid = NEW.ctid);
    END IF;
{rules}
    RETURN NULL;
END $pillarbox$"""

# A step that names columns stands in a block of its own, because a column that a migration has taken away
# must fail no write. The blocks write nothing, so that they cost no transaction id.
RULE = """\
    -- {object_type}
    counts := true; moves := false; image := NULL; event_id := {event_id};
    old_key := NULL; new_key := NULL; left_streams := '{{}}'; streams := '{{}}';
    IF TG_OP = 'UPDATE' THEN
        BEGIN counts := {differs}; EXCEPTION WHEN OTHERS THEN counts := true; END;
    END IF;
    IF counts AND TG_OP <> 'INSERT' THEN
        BEGIN old_key := OLD.{key}; left_streams := {old_streams};
        EXCEPTION WHEN OTHERS THEN
            old_key := to_jsonb(OLD) ->> {key_text}; left_streams := {old_streams_of_json};
        END;
    END IF;
    IF counts AND TG_OP <> 'DELETE' THEN
        BEGIN new_key := NEW.{key}; streams := {new_streams};
        EXCEPTION WHEN OTHERS THEN
            new_key := to_jsonb(NEW) ->> {key_text}; streams := {new_streams_of_json};
        END;
    END IF;
    IF counts THEN
{body}
    END IF;
"""
# The version that an outer capture sees may be gone: then the streams of the row as it is now count.
OBJECT = """\
        IF NOT is_last THEN
            left_streams := left_streams || streams;
            streams := coalesce(
                (SELECT {row_streams} FROM {table} AS row WHERE row.{key} = NEW.{key}), '{{}}'
            );
        END IF;
{moves}{image}
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, transaction, image, is_move)
        SELECT stream, {shard}, event_id, event, '{object_type}', key, pg_current_xact_id()::text::bigint,
            shown, moves AND event = '{UPDATE}' AND stream = streams[1]
        FROM (
            SELECT DISTINCT stream, '{DELETE}' AS event, coalesce(old_key, new_key) AS key,
                NULL::jsonb AS shown
            FROM unnest(left_streams) AS stream
            WHERE old_key <> new_key OR stream <> ALL (streams)
            UNION ALL
            SELECT stream, CASE WHEN stream = ANY (left_streams) AND old_key <> new_key IS NOT TRUE
                THEN '{UPDATE}' ELSE '{CREATE}' END, new_key, image
            FROM unnest(streams) AS stream
        ) AS captured
        WHERE event = ANY ('{verbs}') AND key IS NOT NULL ORDER BY stream, event DESC;"""
MOVES = """\
        IF TG_OP = 'UPDATE' THEN
            BEGIN moves := {differs}; EXCEPTION WHEN OTHERS THEN moves := true; END;
        END IF;
"""
IMAGE = """\
        IF TG_OP <> 'DELETE' AND is_last THEN
            BEGIN image := (SELECT to_jsonb(shown) FROM (SELECT {columns}) AS shown);
            EXCEPTION WHEN OTHERS THEN image := NULL; END;
        END IF;
"""
# The row is only shown by the object. It knows the object's own stream, and not in which collections it is.
SHOWN = """\
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, transaction, is_everywhere)
        SELECT DISTINCT stream, {shard}, event_id, '{UPDATE}', '{object_type}', key,
            pg_current_xact_id()::text::bigint, true
        FROM (VALUES (left_streams[1], old_key), (streams[1], new_key)) AS touched (stream, key)
        WHERE stream IS NOT NULL ORDER BY stream;"""
MARK = f"coalesce(current_setting('{TRACE}', true), '')"
EVENT_ID = f"overlay(gen_random_uuid()::text PLACING {MARK} FROM 1)::uuid"
#: The SQL twin of `models.shard_of`.
SHARD = f"mod(get_byte(decode(md5(stream), 'hex'), 0), {SHARDS})"


def function_name(table: str) -> str:
    """Return the name of the function of a table, which SQL writes as ``table``: our label and a digest."""
    return f"{LABEL}_{hashlib.sha256(table.encode()).hexdigest()[:16]}"


def function_sql(*, function: str, table: str, outbox: str, rules: Iterable[Rule]) -> str:
    """Return the SQL that makes a table's trigger function. All three names are as SQL writes them."""
    return FUNCTION.format(
        function=function,
        table=table,
        muted=MUTED,
        nested=NESTED,
        rules="".join(_rule(rule, table, outbox) for rule in rules),
    )


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _rule(rule: Rule, table: str, outbox: str) -> str:
    return RULE.format(
        object_type=rule.object_type,
        event_id=EVENT_ID,
        differs="true" if rule.watched is None else _differs(rule.watched),
        key=quoted(rule.key),
        key_text=_text(rule.key),
        old_streams=_streams(rule, "OLD"),
        new_streams=_streams(rule, "NEW"),
        old_streams_of_json=_streams_of_json(rule, "OLD"),
        new_streams_of_json=_streams_of_json(rule, "NEW"),
        body=_body(rule, table, outbox),
    )


def _body(rule: Rule, table: str, outbox: str) -> str:
    """Return the steps that write the rows."""
    events = {verb: event_of(verb, rule.object_type) for verb in ("CREATE", "UPDATE", "DELETE")}
    columns = ", ".join(f"NEW.{quoted(column)}" for column in rule.image)
    return (OBJECT if rule.is_object else SHOWN).format(
        outbox=outbox,
        table=table,
        object_type=rule.object_type,
        key=quoted(rule.key),
        shard=SHARD,
        row_streams=_streams(rule, "row"),
        moves=MOVES.format(differs=_differs(rule.deciding)) if rule.deciding else "",
        image=IMAGE.format(columns=columns) if rule.image else "",
        verbs="{" + ",".join(events[verb] for verb in rule.verbs) + "}",
        **events,
    )


def _differs(columns: Sequence[str]) -> str:
    """Return a condition that is true if one of the columns differs, whatever its type."""
    old, new = (", ".join(f"{row}.{quoted(one)}" for one in columns) for row in ("OLD", "NEW"))
    return f"ROW({old})::record *<> ROW({new})::record" if columns else "false"


def _streams(rule: Rule, row: str) -> str:
    """Return an expression for the streams of a row."""
    streams = ", ".join(f"'{name}:' || {row}.{quoted(one)}" for name, one in rule.streams)
    return f"array_remove(ARRAY[{streams}], NULL)"


def _streams_of_json(rule: Rule, row: str) -> str:
    """Return the same for a row that lacks one of the columns: it is in no stream of that column."""
    streams = ", ".join(
        f"'{name}:' || (to_jsonb({row}) ->> {_text(one)})" for name, one in rule.streams
    )
    return f"array_remove(ARRAY[{streams}], NULL)"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
