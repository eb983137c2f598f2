"""
Partitions: the UPDATE that moves a row to another partition fires the triggers of a DELETE and an INSERT.

The DELETE records OLD and the outbox rows that it wrote. The INSERT of the same command deletes these rows
and continues as an UPDATE. The two belong to one command if the rows are younger than NEW: a row's cmin is
the number of the command that wrote it, and a trigger's commands follow the one that fired it.
"""

from collections.abc import Sequence
from typing import NamedTuple

VARIABLES = """
    operation text := TG_OP; written bigint[]; deletion jsonb;"""
# If NEW has an xmax, another trigger has changed it, and its cmin may not be the number of a command.
TAKE_BACK = """\
    IF TG_OP = 'INSERT' AND current_setting('{setting}', true) <> '' THEN
        BEGIN
            deletion := current_setting('{setting}', true);
            PERFORM set_config('{setting}', '', true);
            OLD := jsonb_populate_record(NULL::{table}, deletion -> 'old');
            IF NEW.xmax = 0 AND {is_same} AND TG_RELID::text <> deletion ->> 'partition' THEN
                DELETE FROM {outbox} WHERE cmin::text::bigint > NEW.cmin::text::bigint
                AND transaction = pg_current_xact_id()::text::bigint
                AND id IN (SELECT jsonb_array_elements_text(deletion -> 'rows')::bigint);
                IF FOUND THEN operation := 'UPDATE'; END IF;
            END IF;
        EXCEPTION WHEN OTHERS THEN operation := TG_OP; END;
    END IF;
"""
KEEP = """\
    IF TG_OP = 'DELETE' THEN
        BEGIN
            PERFORM set_config('{setting}', jsonb_build_object(
                'rows', written, 'partition', TG_RELID::text, 'old', to_jsonb(OLD)
            )::text, true);
        EXCEPTION WHEN OTHERS THEN PERFORM set_config('{setting}', '', true); END;
    END IF;
"""


class PartitionSteps(NamedTuple):
    """The steps of a function that detect moves between partitions."""

    #: Declarations of variables, and the variable that holds the operation.
    variables: str = ""
    operation: str = "TG_OP"
    #: For an UPDATE: sets whether it is a move.
    is_move: str = ""
    #: Before the rules: deletes the rows that the DELETE wrote.
    take_back: str = ""
    #: After the rules: records the rows that a DELETE wrote.
    keep: str = ""
    #: Around each INSERT of a rule: notes the rows that it wrote.
    before_insert: str = ""
    after_insert: str = ""


def partition_steps(
    *, keys: Sequence[str], setting: str, table: str, outbox: str
) -> PartitionSteps:
    """Return the steps of a partitioned table's function. All names are quoted for SQL."""
    is_same = " AND ".join(f"OLD.{key} = NEW.{key}" for key in keys)
    return PartitionSteps(
        variables=VARIABLES,
        operation="operation",
        is_move="moves := operation <> TG_OP; ",
        take_back=TAKE_BACK.format(setting=setting, table=table, outbox=outbox, is_same=is_same),
        keep=KEEP.format(setting=setting),
        before_insert="WITH written_now AS (",
        after_insert=" RETURNING id) SELECT written || array_agg(id) INTO written FROM written_now",
    )
