"""
Tools for a project's own tests: announcements, a drain, a follower and a socket.

They need PostgreSQL, but no Redis, worker or server. They work in a `TestCase`, which rolls back, and in a
`TransactionTestCase`, which commits.
"""

from ..exceptions import ClientCommandError, NotDrainedError, SocketClosedError
from .announcements import Notification, announced
from .drains import drain
from .followers import Follower, follow
from .sockets import Socket, socket

__all__ = [
    "ClientCommandError",
    "Follower",
    "NotDrainedError",
    "Notification",
    "Socket",
    "SocketClosedError",
    "announced",
    "drain",
    "follow",
    "socket",
]
