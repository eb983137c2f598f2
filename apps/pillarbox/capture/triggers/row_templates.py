"""SQL templates of the trigger functions, to collect and write rows of rules. `rule_steps.py` fills them."""

from ...models import RIGHTS_SHARD
from ..wake_ups import TRACE

# Most changes leave an object in the same streams, which is the short branch. An outer capture may see a
# version of the row that is gone (`is_last` is false): then the streams of the current row count. The inner
# capture saw an INSERT's row as one that existed before, so the outer one announces its creation.
OBJECT = """\
        ids[number] := {event_id};
        IF TG_OP <> 'DELETE' AND current_setting('{nested}', true) = 'on' THEN
            BEGIN
                is_last := (SELECT {is_now} FROM {table} AS {now} WHERE {now}.{key} = NEW.{key}) IS TRUE;
            EXCEPTION WHEN OTHERS THEN is_last := false; END;
        END IF;
{moves}{image}
        IF moves THEN moved[number] := '{own}:' || new_key; END IF;
        IF {effect} = 'DELETE' AND is_last THEN
            keys[number] := old_key; all_streams := all_streams || left_streams;
            moved[number] := '{own}:' || old_key;
            numbers := numbers || array_fill(number, ARRAY[cardinality(left_streams)]);
        ELSIF is_last AND ({effect} = 'INSERT' OR old_key = new_key AND left_streams = streams) THEN
            keys[number] := new_key; all_streams := all_streams || streams;
            numbers := numbers || array_fill(number, ARRAY[cardinality(streams)]);
        ELSE
            gone := left_streams;
            IF NOT is_last THEN
                IF {effect} <> 'INSERT' THEN gone := left_streams || streams; END IF;
                BEGIN
                    streams := coalesce(
                        (SELECT {now_streams} FROM {table} AS {now}
                            WHERE {now}.{key} = NEW.{key}{now_fulfils}),
                        '{{}}'
                    );
                EXCEPTION WHEN OTHERS THEN NULL; END;
            END IF;
            first := number;
            FOR one IN
                SELECT DISTINCT stream, '{DELETE}' AS event, coalesce(old_key, new_key) AS key
                FROM unnest(gone) AS stream WHERE old_key <> new_key OR stream <> ALL (streams)
                UNION ALL
                SELECT stream, CASE WHEN stream = ANY (gone) AND old_key <> new_key IS NOT TRUE
                    THEN '{UPDATE}' ELSE '{CREATE}' END, new_key
                FROM unnest(streams) AS stream ORDER BY stream, event DESC
            LOOP
                number := number + 1; ids[number] := ids[first]; keys[number] := one.key;
                events[number] := one.event;
                all_streams := all_streams || one.stream; numbers := numbers || number;
                IF one.event = '{UPDATE}' THEN moved[number] := moved[first]; END IF;
                IF one.event = '{DELETE}' THEN moved[number] := '{own}:' || one.key; END IF;
                IF one.event <> '{DELETE}' THEN images[number] := images[first]; END IF;
            END LOOP;
        END IF;"""
IMAGE = """\
        IF {effect} <> 'DELETE' AND is_last THEN
            BEGIN images[number] := {image};{json_nulls} EXCEPTION WHEN OTHERS THEN NULL; END;
        END IF;
"""
# In an image both nulls are JSON's.
JSON_NULLS_OF_IMAGE = """
            IF 'null' IN ({values}) THEN
                images[number] := images[number]
                    || jsonb_build_object('{json_nulls}', array_remove(ARRAY[{columns}]::text[], NULL));
            END IF;"""
# Beginning an INSERT costs much, also one without rows. So none begins if nothing is to be written.
WRITE_OBJECTS = """\
        IF all_streams IS NOT NULL THEN
        {before_insert}INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, image, is_move)
        SELECT stream, {shard}, ids[change], event, '{object_type}', keys[change], '{lookup}',
            pg_current_xact_id()::text::bigint, images[change], (stream = moved[change]) IS TRUE
        FROM (
            SELECT stream, change, coalesce(events[change], CASE {operation}
                WHEN 'INSERT' THEN '{CREATE}' WHEN 'DELETE' THEN '{DELETE}' ELSE '{UPDATE}' END) AS event
            FROM unnest(all_streams, numbers) AS collected (stream, change)
        ) AS collected
        WHERE keys[change] IS NOT NULL{announced}{after_insert};
        END IF;"""
# For rows that only appear in another object's payload. Such a row names the object's own stream, but not the
# collections that the object is in.
SHOWN = """\
        all_streams := all_streams || ARRAY[left_streams[1], streams[1]];
        keys := keys || ARRAY[old_key, new_key];"""
WRITE_SHOWN = """\
        IF all_streams IS NOT NULL THEN
        {before_insert}INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, is_everywhere)
        SELECT stream, {shard}, {event_id}, '{UPDATE}', '{object_type}', key, '{lookup}',
            pg_current_xact_id()::text::bigint, true
        FROM (
            SELECT DISTINCT stream, key FROM unnest(all_streams, keys) AS touched (stream, key)
            WHERE stream IS NOT NULL ORDER BY stream
        ) AS touched{after_insert};
        END IF;"""
# For an object in several tables. Each table knows some of its collections, and rendering finds them all.
PART = """\
{moves}
        ids[1] := {event_id};
        {before_insert}INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, is_everywhere,
            is_move, left_streams)
        SELECT stream, {shard}, ids[1], event, '{object_type}', key, '{lookup}',
            pg_current_xact_id()::text::bigint, is_everywhere,
            (moves AND event = '{UPDATE}') IS TRUE OR event = '{DELETE}' AND NOT {is_ancestor}, places
        FROM (VALUES
            ('{DELETE}', left_streams[1], old_key, {is_ancestor}, left_streams[2:]),
            ('{CREATE}', streams[1], new_key, true, NULL),
            ('{UPDATE}', streams[1], new_key, true, ARRAY(
                SELECT place FROM unnest(left_streams[2:]) AS place WHERE place <> ALL (streams) UNION ALL
                SELECT split_part(place, ':', 1) || ':' FROM unnest(streams[2:]) AS place
                WHERE place <> ALL (left_streams)
            ))
        ) AS captured (event, stream, key, is_everywhere, places)
        WHERE event = ANY ('{verbs}') AND key IS NOT NULL
            AND (event = '{UPDATE}') = (old_key = new_key IS TRUE){after_insert};"""
# Ends of rights are written complete. They need no rendering, and get their offsets with the next rows that
# are numbered.
END_OF_RIGHT = """\
        keys := keys || ARRAY[old_key, CASE WHEN old_key = new_key THEN NULL ELSE new_key END];
        events := events || ARRAY[
            CASE WHEN old_key = new_key THEN '{UPDATE}' ELSE '{DELETE}' END, '{CREATE}'
        ];"""
WRITE_ENDS = """\
        IF keys IS NOT NULL THEN
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, payload)
        SELECT '{rights}', {rights_shard}, {event_id}, event, '{object_type}', key, '{lookup}',
            pg_current_xact_id()::text::bigint, '{{}}'
        FROM (SELECT DISTINCT key, event FROM unnest(keys, events) AS collected (key, event)) AS collected
        WHERE key IS NOT NULL AND event = ANY ('{verbs}');
        END IF;"""
#: Leaves deletions out.
MOVED_ONLY = " AND {operation} = 'UPDATE'"
# If an object moves, rights to it may end. If others are visible through it, those to them may, also if it is
# deleted.
WRITE_MOVES = """
        IF moved IS NOT NULL THEN
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, payload)
        SELECT '{rights}', {rights_shard}, ids[change], '{UPDATE}', '{object_type}', keys[change], '{lookup}',
            pg_current_xact_id()::text::bigint, '{{}}'
        FROM unnest(all_streams, numbers) AS collected (stream, change)
        WHERE stream = moved[change] AND keys[change] IS NOT NULL{ended};
        END IF;"""
WRITE_MOVES_OF_PARTS = """
        IF moves OR {is_owner} AND ({operation} = 'DELETE' OR old_key <> new_key) THEN
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, lookup, transaction, payload)
        VALUES ('{rights}', {rights_shard}, ids[1], '{UPDATE}', '{object_type}', old_key, '{lookup}',
            pg_current_xact_id()::text::bigint, '{{}}');
        END IF;"""
#: Replaces a secret by its SHA-256, as 64 hex digits; `grants.session_digest` is the same in Python.
DIGEST = "encode(sha256(convert_to({}::text, 'UTF8')), 'hex')"
# The trace is checked first, because a malformed setting of a session must not fail the write.
EVENT_ID = f"""CASE WHEN current_setting('{TRACE}', true) ~ '^[0-9a-f]{{8}}-[0-9a-f]{{4}}$'
        THEN overlay(gen_random_uuid()::text PLACING current_setting('{TRACE}', true) FROM 1)::uuid
        ELSE gen_random_uuid() END"""
#: `models.shard_of` in SQL, for every stream except that of the ends of rights.
SHARD = f"mod(get_byte(decode(md5(stream), 'hex'), 0), {RIGHTS_SHARD})"
