"""One client's socket, as the parts that serve it."""

from collections.abc import Awaitable, Callable
from typing import Any

from .access.access import Access
from .access.ends_reader import EndsReader
from .access.reads import Reads
from .channel import Channel
from .commands.client_commands import ClientCommands
from .commands.subscribe_commands import SubscribeCommands
from .connection import Connection, Message
from .subscriptions.forwarder import Forwarder
from .subscriptions.snapshots import Snapshots
from .subscriptions.subscriptions import Subscriptions
from .turns import Turns


class Socket:
    """One client's socket. Each of its parts knows only the parts before it."""

    def __init__(
        self,
        *,
        scope: dict[str, Any],
        send: Callable[[Message], Awaitable[None]],
        channel: Channel,
        ends_reader: EndsReader,
        request_check: Callable[[Access], None],
    ) -> None:
        self.scope, self.channel = scope, channel
        #: Whether the client's first frame must have a one-time token.
        self.awaits_token = False
        self.connection = connection = Connection(send, before_close=self._leave_groups)
        self.turns = turns = Turns(connection)
        self.subscriptions = subscriptions = Subscriptions(connection, channel)
        self.access = access = Access(
            scope=scope,
            connection=connection,
            subscriptions=subscriptions,
            turns=turns,
            ends_reader=ends_reader,
            request_check=request_check,
        )
        self.reads = reads = Reads(access, ends_reader)
        snapshots = Snapshots(
            connection=connection, subscriptions=subscriptions, reads=reads, turns=turns
        )
        self.forwarder = Forwarder(
            connection=connection,
            subscriptions=subscriptions,
            access=access,
            reads=reads,
            snapshots=snapshots,
            turns=turns,
        )
        subscribing = SubscribeCommands(
            connection=connection,
            subscriptions=subscriptions,
            access=access,
            reads=reads,
            snapshots=snapshots,
            forwarder=self.forwarder,
        )
        self.commands = ClientCommands(connection=connection, subscribing=subscribing)

    async def end(self) -> None:
        """Leave the groups, and end the channel."""
        await self._leave_groups()
        await self.channel.end()

    async def _leave_groups(self) -> None:
        await self.subscriptions.leave_all()
