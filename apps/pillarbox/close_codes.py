"""The server's close codes. The range of a code tells the client whether to reconnect."""

from enum import IntEnum


class CloseCode(IntEnum):
    """The close codes. 1009 and 1012 are standard. Our Daphne sends them by itself, and 4408 and 4429."""

    FRAME_TOO_LARGE = 1009
    SERVICE_RESTART = 1012
    PROTOCOL_ABUSE = 4400
    NOT_AUTHENTICATED = 4401
    ORIGIN_REFUSED = 4403
    UNHEARD = 4408
    TOO_MANY = 4429
    INTERNAL_ERROR = 4500
    TOO_SLOW = 4503
