"""Registrations that are refused, each for another reason."""

from apps.tickets.live import TicketType
from pillarbox.live import ObjectType, register


@register
class Unserialized(ObjectType):
    name = "wrong"


@register
class Second(TicketType):
    collections = {}


@register
class Unseparated(TicketType):
    name, collections = "unseparated", {}
    shows = "project__name"
