"""Why the server ends a socket. By its range, a code tells the client whether to come back."""

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes that this server sends; 1009 and 1012 are RFC 6455's. Daphne sends these, 4408 and 4429."""

    FRAME_TOO_LARGE = 1009
    SERVICE_RESTART = 1012
    PROTOCOL_ABUSE = 4400
    NOT_AUTHENTICATED = 4401
    ORIGIN_REFUSED = 4403
    UNHEARD = 4408
    TOO_MANY = 4429
    INTERNAL_ERROR = 4500
    TOO_SLOW = 4503
