"""The frame of a trigger function, as SQL with gaps for `functions` to fill."""

# The SET clauses let values survive JSON unchanged, whatever the session has set. If a trigger of the project
# writes the row again, the capture of that write runs first. The outer capture then sees an outdated row.
FUNCTION = """\
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = {search_path} SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'
SET extra_float_digits = 1 AS {quote}
DECLARE
    counts boolean; moves boolean; is_last boolean := true; before refcursor;
    old_key text; new_key text; left_streams text[] := '{{}}'; streams text[] := '{{}}'; gone text[];
    was_in boolean; is_in boolean; effect text;
    number int := 0; ids uuid[]; keys text[]; images jsonb[]; moved text[];
    all_streams text[]; numbers int[]; first int; events text[]; one record;{variables}
BEGIN
    IF current_setting('{muted}', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO {outbox}
            (stream, shard, event_id, event, object_type, object_id, transaction, payload)
        SELECT stream, shard, gen_random_uuid(), '{TRUNCATE}', object_type, '',
            pg_current_xact_id()::text::bigint, payload::jsonb
        FROM (VALUES {truncated}) AS truncated (stream, shard, object_type, payload)
        -- If the statement empties the outbox, too, the checks of a new row's foreign keys would miss it.
        WHERE NOT EXISTS (
            SELECT FROM pg_locks WHERE relation = '{outbox_text}'::regclass AND pid = pg_backend_pid()
            AND mode = 'AccessExclusiveLock'
        );
        RETURN NULL;
    END IF;
    IF pg_trigger_depth() > 1 THEN PERFORM set_config('{nested}', 'on', true); END IF;
{take_back}{rules}{keep}
    RETURN NULL;
END {quote}"""

# PostgreSQL fills both transition tables, the new rows and those that an UPDATE replaced, in the order of the
# changes, even if a cascade has changed a row twice. So the loop reads them in parallel. One INSERT for each
# row costs several times as much as one for many. A large image is written at once, to bound the memory.
EACH_OF_STATEMENT = """\
    -- {object_type}
    IF TG_OP = 'UPDATE' THEN OPEN before FOR SELECT * FROM {replaced}; END IF;
    FOR NEW IN SELECT * FROM {changed} LOOP
        IF TG_OP = 'UPDATE' THEN
            FETCH before INTO OLD; CONTINUE WHEN OLD *= NEW;
        ELSIF TG_OP = 'DELETE' THEN OLD := NEW; END IF;
{collect}
        IF number >= {batch} OR pg_column_size(images[number]) > {large} THEN
{write}
{empty}
        END IF;
    END LOOP;
    IF TG_OP = 'UPDATE' THEN CLOSE before; END IF;
{write}
"""
EACH_ROW = """\
    -- {object_type}
    IF TG_OP <> 'UPDATE' OR OLD *<> NEW THEN
{collect}
{write}
    END IF;
"""
EMPTY = """\
            number := 0; ids := NULL; keys := NULL; images := NULL; moved := NULL;
            all_streams := NULL; numbers := NULL; events := NULL;"""
#: Resets the variables between two rules.
ANEW = (
    EMPTY
    + """
    old_key := NULL; new_key := NULL; left_streams := '{}'; streams := '{}'; moves := NULL;
"""
)

# Each step that names columns or the table is in a block of its own: a migration may have dropped the column
# or renamed the table, and that must not fail a write. The blocks write nothing, so they take no
# transaction id.
COLLECT = """\
    IF {operation} = 'UPDATE' THEN
        {is_move}BEGIN counts := {differs}; EXCEPTION WHEN OTHERS THEN counts := true; END;
    ELSE
        counts := {counts};
    END IF;
{expiry}{condition}    IF counts THEN
        number := number + 1;
        BEGIN
            IF {operation} = 'DELETE' THEN
                old_key := {old_key}; left_streams := {old_streams};
            ELSE
                new_key := {new_key}; streams := {new_streams};
                IF {operation} = 'UPDATE' THEN
                    old_key := {old_key}; left_streams := {old_streams};
                END IF;
            END IF;
        EXCEPTION WHEN OTHERS THEN
            IF {operation} <> 'INSERT' THEN
                old_key := {old_key_of_json}; left_streams := {old_streams_of_json};
            END IF;
            IF {operation} <> 'DELETE' THEN
                new_key := {new_key_of_json}; streams := {new_streams_of_json};
            END IF;
        END;
{outside}{body}
    END IF;"""
# Deletions of rows that expired over an hour ago aren't captured: they end no right, and may be millions.
EXPIRY = """\
    IF counts THEN
        BEGIN counts := OLD.{expires} > statement_timestamp() - interval '1 hour';
        EXCEPTION WHEN OTHERS THEN counts := true; END;
    END IF;
"""
# A row outside of its type's condition is no object, so an UPDATE may be a creation or a deletion. If the
# condition can't be evaluated, because a migration has dropped a column, the row counts as an object.
CONDITION = """\
    was_in := false; is_in := false;
    IF {operation} <> 'INSERT' THEN
        BEGIN was_in := {old_fulfils}; EXCEPTION WHEN OTHERS THEN was_in := true; END;
    END IF;
    IF {operation} <> 'DELETE' THEN
        BEGIN is_in := {new_fulfils}; EXCEPTION WHEN OTHERS THEN is_in := true; END;
    END IF;
    counts := was_in <> is_in OR is_in AND counts;
    effect := CASE WHEN was_in AND is_in THEN 'UPDATE' WHEN was_in THEN 'DELETE' ELSE 'INSERT' END;
"""
OUTSIDE = """\
        IF NOT was_in THEN left_streams := '{{}}'; END IF;
        IF NOT is_in THEN streams := '{{}}'; END IF;
        IF effect <> 'UPDATE' THEN moves := NULL; END IF;
        events[number] := CASE effect
            WHEN 'INSERT' THEN '{CREATE}' WHEN 'DELETE' THEN '{DELETE}' ELSE '{UPDATE}' END;
"""
MOVES = """\
        IF {effect} = 'UPDATE' THEN
            BEGIN moves := {is_moved}{differs}; EXCEPTION WHEN OTHERS THEN moves := true; END;
        END IF;
"""
