"""Names of our own in the database: of triggers, functions, settings and transition tables."""

import hashlib

#: Settings local to a transaction: capture is muted, and a trigger of the project wrote a live row.
MUTED, NESTED = "pillarbox.muted", "pillarbox.nested"
#: The first part of the names of all our triggers, functions and settings.
LABEL = "pillarbox"
#: The search path of our functions, so that no other schema decides what they call.
SEARCH_PATH = "pg_catalog, pg_temp"
#: Stands for the current row of a table in SQL. A column of this name would hide it.
NOW = "pillarbox_now"
#: The transition tables of a statement: its rows as they are now, and as they were.
CHANGED, REPLACED = "changed", "replaced"
#: The key of an image that lists the columns with a JSON null, not SQL's NULL. No column can have this name.
JSON_NULLS = ""


def function_name(table: str) -> str:
    """Return the name of a table's function: our label, and a digest of the table's quoted name."""
    return f"{LABEL}_{hashlib.sha256(table.encode()).hexdigest()[:16]}"
