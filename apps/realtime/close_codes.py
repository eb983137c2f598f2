"""Why the server ends a socket. By its range, a code tells the client whether to come back."""

from enum import IntEnum


class CloseCode(IntEnum):
    """Codes of protocol.md §7 that this server sends."""

    FRAME_TOO_LARGE = 1009
    NOT_AUTHENTICATED = 4401
    ORIGIN_REFUSED = 4403
    INTERNAL_ERROR = 4500
