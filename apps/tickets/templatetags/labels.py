"""How pages say what a payload has: as the page's script says it when it changes."""

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
    """Return what people call a value of a field."""
    return LABELS[field].get(str(value), "")


@register.filter
def moment(timestamp: str) -> str:
    """Return a time of a payload to the second: ``2026-11-22 10:00:03 UTC``."""
    return f"{timestamp[:10]} {timestamp[11:19]} UTC"
