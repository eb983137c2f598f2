"""The settings, as `manage.py check` sees them."""

from django.conf import settings
from django.core import checks

from .findings import Answer, Finding, unless


def has_no_complaints() -> Answer:
    """The system checks find nothing, in a deployment those for deployments neither."""
    # Without databases: Django 6.1 would connect to every one, also to those that are away.
    found = checks.run_checks(include_deployment_checks=not settings.DEBUG, databases=[])
    serious = [
        message
        for message in found
        if message.level >= checks.WARNING and not message.is_silenced()
    ]
    findings = [
        Finding(
            what=f"{message.id}: {' '.join(message.msg.split())}",
            why="The system check's id stands in the room's README, or in Django's documentation.",
            cure=message.hint or "Correct what it names, and start the processes again.",
            is_grave=message.level >= checks.ERROR,
        )
        for message in serious
    ]
    return unless(findings, "the system checks find nothing")
