"""Admission of sockets: origin, authentication, and the limit of sockets per user."""

from typing import Any

from ..close_codes import CloseCode
from ..conf import pillarbox_settings
from ..database import AWAY_OR_SLOW
from ..deadlines import timeout
from ..exceptions import ClientCommandError
from ..stream.history import Position
from . import frames
from .access.authentication import authenticate_handshake, authenticate_token, is_expired
from .access.credentials import Credentials
from .access.handshake import (
    HandshakeRefusedError,
    offered_token,
    refuse_origin,
    subprotocol_of,
)
from .access.one_time_tokens import take
from .channel import layer_answers
from .commands.parsing import read
from .database import in_database, log_away
from .housekeeping.recurring import housekeeping
from .socket import Socket


async def accept(socket: Socket) -> None:
    """Accept a socket, and admit it, unless its first frame will have a one-time token."""
    # Accept first: a browser can't read the code of a refused handshake.
    subprotocol = subprotocol_of(socket.scope)
    await socket.connection.send({"type": "websocket.accept", "subprotocol": subprotocol})
    token = offered_token(socket.scope)
    socket.awaits_token = token == ""
    if not socket.awaits_token:
        await _admit(socket, token)


async def admit_by_frame(socket: Socket, text: str | None) -> None:
    """Called with the first frame of a socket that awaits a one-time token. Admit the socket, or close it."""
    socket.awaits_token = False
    try:
        frame = read(text).frame
    except ClientCommandError:
        frame = {}
    token = frame.get("token") if frame.get("action") == "authenticate" else None
    await _admit(socket, str(token))


async def _admit(socket: Socket, token: str | None) -> None:
    """Send a hello, or close the socket with the code of the refusal."""
    connection = socket.connection
    try:
        async with timeout(pillarbox_settings().DATABASE_SECONDS), housekeeping().admission_limit:
            user, credentials, checked_up_to = await _authenticate(socket.scope, token)
    except HandshakeRefusedError as refusal:
        await connection.close(refusal.code)
        return
    except AWAY_OR_SLOW as error:
        log_away(error)
        await connection.close(CloseCode.INTERNAL_ERROR)
        return
    if housekeeping().is_full(user):
        await connection.close(CloseCode.TOO_MANY)
        return
    socket.access.admit(user, credentials)
    connection.postpone_heartbeat()
    housekeeping().enter(socket, checked_up_to)
    if socket.channel.name and await layer_answers(housekeeping().ends_reader.listen()):
        await connection.send_frame(frames.hello(str(user.get_username())))
    else:
        await connection.close(CloseCode.INTERNAL_ERROR)


async def _authenticate(
    scope: dict[str, Any], token: str | None
) -> tuple[Any, Credentials, Position]:
    """Authenticate by a one-time token or, without one, by the handshake. Raises HandshakeRefusedError."""
    if is_expired(scope):
        raise HandshakeRefusedError(CloseCode.NOT_AUTHENTICATED)
    if token is None:
        refuse_origin(scope)
        return await in_database(authenticate_handshake, scope)
    # In a transaction of its own, so that the token is used up even if its credentials are refused.
    taken = await in_database(take, token)
    if taken is None:
        raise HandshakeRefusedError(CloseCode.NOT_AUTHENTICATED)
    return await in_database(authenticate_token, *taken)
