"""Checks of the triggers that capture changes."""

from django.db import DEFAULT_DB_ALIAS

from ...capture.triggers.installation import Difference, TriggerProblem, differences
from ...capture.triggers.required import required
from ...exceptions import ONE_SCHEMA
from .findings import Finding, Outcome, findings_or

#: Why each problem matters, and whether it loses notifications.
WHY = {
    TriggerProblem.MISSING: ("Changes of these tables aren't announced.", True),
    TriggerProblem.OUTDATED: (
        "Their changes are announced as another version of the code, or another registration, defines.",
        False,
    ),
    TriggerProblem.NOT_LIVE: (
        "Their changes write rows of a type that isn't registered, which wait for ever.",
        False,
    ),
    TriggerProblem.UNUSED: ("They are unused: their tables were dropped.", False),
    TriggerProblem.SECOND: (ONE_SCHEMA, True),
    TriggerProblem.CONDITION: (
        "Their triggers stay as they were. A trigger calls only the functions of PostgreSQL itself.",
        True,
    ),
    TriggerProblem.VIEW: (
        "Changes of their rows aren't announced. Register the models of the underlying tables instead.",
        True,
    ),
}
CURE = "Run `manage.py pillarbox triggers`, or its --sql as a role that may create triggers."


def are_installed() -> Outcome:
    """Check that each live table has the current version of its trigger."""
    found = list(differences(using=DEFAULT_DB_ALIAS))
    findings = [
        Finding(what=f"{tables}: {problem}.", why=why, cure=CURE, is_grave=is_grave)
        for problem, (why, is_grave) in WHY.items()
        if (tables := ", ".join(map(_table, (each for each in found if each.problem is problem))))
    ]
    return findings_or(
        findings,
        f"{len(required(using=DEFAULT_DB_ALIAS).triggers)} live tables have their triggers",
    )


def _table(difference: Difference) -> str:
    """Return the table that differs, with the reason if there is one."""
    return difference.table + (f" ({difference.reason})" if difference.reason else "")
