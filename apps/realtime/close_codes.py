"""Why the server ends a socket. By its range, a code tells the client whether to come back."""

from enum import IntEnum


class CloseCode(IntEnum):
    """The codes that this server sends; 1009 and 1012 are RFC 6455's, and Daphne's to send."""

    FRAME_TOO_LARGE = 1009
    SERVICE_RESTART = 1012
    NOT_AUTHENTICATED = 4401
    ORIGIN_REFUSED = 4403
    INTERNAL_ERROR = 4500
