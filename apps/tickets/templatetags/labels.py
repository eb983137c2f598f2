"""Template filters that display a payload's values, as the page's script displays changed ones."""

from typing import Any

from django import template

from ..models import Ticket

register = template.Library()

LABELS: dict[str, dict[str, str]] = {
    "status": {str(value): str(label) for value, label in Ticket.Status.choices},
    "priority": {str(value): str(label) for value, label in Ticket.Priority.choices},
}


@register.filter
def label(value: Any, field: str) -> str:
    """Return the label of a field's value."""
    return LABELS[field].get(str(value), "")


@register.filter
def moment(timestamp: str) -> str:
    """Return a payload's time to the second: ``2026-11-22 10:00:03 UTC``."""
    return f"{timestamp[:10]} {timestamp[11:19]} UTC"
