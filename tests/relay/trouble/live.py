"""A ticket type whose rendering hangs, blocks or kills its process, as the ticket's title says."""

import os
import re
from functools import partial
from threading import Event

from apps.tickets.live import TicketType
from pillarbox.types.registry import register, unregister

TROUBLES = {
    "hangs": Event().wait,
    "holds the interpreter": partial(re.match, "(a|a)*b", 64 * "a"),
    "ends its process": partial(os._exit, 1),
}

unregister("ticket")


@register
class TroublesomeType(TicketType):
    def payload(self, instance):
        TROUBLES.get(instance.title, int)()
        return super().payload(instance)
