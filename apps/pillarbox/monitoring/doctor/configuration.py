"""The settings, checked by Django's system checks."""

from django.conf import settings
from django.core import checks

from .findings import Finding, Outcome, findings_or


def passes_system_checks() -> Outcome:
    """Check that the system checks find no warnings or errors; without DEBUG, deployment checks included."""
    # Without databases, because Django 6.1 would connect to each of them, even unreachable ones.
    found = checks.run_checks(include_deployment_checks=not settings.DEBUG, databases=[])
    serious = [
        message
        for message in found
        if message.level >= checks.WARNING and not message.is_silenced()
    ]
    findings = [
        Finding(
            what=f"{message.id}: {' '.join(message.msg.split())}",
            why="The package's docs/reference/checks.md, or Django's documentation, explains the id.",
            cure=message.hint or "Correct the setting that it names, and restart the processes.",
            is_grave=message.level >= checks.ERROR,
        )
        for message in serious
    ]
    return findings_or(findings, "the system checks report nothing")
