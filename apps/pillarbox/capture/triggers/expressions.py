"""SQL expressions about the rows OLD and NEW of a trigger function."""

from collections.abc import Iterable, Sequence

from .row_templates import DIGEST
from .rules import Rule


def quoted(name: str) -> str:
    """Return a name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def differs(columns: Sequence[str]) -> str:
    """Return a condition that is true if one of the columns differs. It works for each column type."""
    old, new = (", ".join(f"{row}.{quoted(one)}" for one in columns) for row in ("OLD", "NEW"))
    return f"ROW({old})::record *<> ROW({new})::record" if columns else "false"


def is_changed(rule: Rule) -> str:
    """Return a condition that is true if an UPDATE changes a column that the rule compares."""
    return "true" if rule.compared is None else differs(rule.compared)


def streams(rule: Rule, row: str) -> str:
    """Return an expression for the streams of a row."""
    return _array(stream(rule, row, name, column) for name, column in _placed(rule))


def stream(rule: Rule, row: str, name: str, column: str) -> str:
    """Return an expression for one stream of a row: a name, and the key in a column."""
    return f"'{name}:' || {key_value(rule, row, column)}"


def streams_of_json(rule: Rule, row: str) -> str:
    """Return an expression for the streams of a row, without those whose column it lacks."""
    return _array(
        f"'{name}:' || {key_value_of_json(rule, row, one)}" for name, one in _placed(rule)
    )


def _placed(rule: Rule) -> Sequence[tuple[str, str]]:
    """Return the streams in the order in which rows are written. For a part, the own stream is first."""
    return rule.streams if rule.is_part else sorted(rule.streams)


def _array(streams: Iterable[str]) -> str:
    return f"array_remove(ARRAY[{', '.join(streams)}]::text[], NULL)"


def key_value(rule: Rule, row: str, column: str) -> str:
    """Return an expression for a key in a row."""
    key = f"{row}.{quoted(column)}"
    return DIGEST.format(key) if rule.is_secret else key


def key_value_of_json(rule: Rule, row: str, column: str) -> str:
    """Return an expression for a key in a row that may lack the column."""
    key = f"(to_jsonb({row}) ->> {literal(column)})"
    return DIGEST.format(key) if rule.is_secret else key


def literal(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
