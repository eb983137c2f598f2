"""The commands of one client: each is charged, validated, and answered."""

from dataclasses import dataclass, field

from ...exceptions import ClientCommandError
from .. import frames
from ..connection import Connection, Message
from .limits import CommandLimits
from .parsing import Command, RawCommand, parse, read
from .serializers import CommandName
from .subscribe_commands import SubscribeCommands


@dataclass(kw_only=True, slots=True, eq=False)
class ClientCommands:
    """The part of a socket that receives its client's frames."""

    connection: Connection
    subscribing: SubscribeCommands
    limits: CommandLimits = field(default_factory=CommandLimits)

    async def receive(self, message: Message) -> None:
        """Called with each frame of the client. Answers every command, with one answer for each entry."""
        ref = None
        try:
            command = self._read(message.get("text"))
            ref = command.ref
            self.limits.charge(command.cost)
            await self._run(await parse(command))
        except ClientCommandError as refusal:
            await self.connection.send_frame(frames.error(refusal, frames.answer(ref)))
            code = self.limits.note_refusal(refusal.code)
            if code is not None:
                await self.connection.close(code)

    def _read(self, text: str | None) -> RawCommand:
        """Read a frame. Raises ClientCommandError if it is malformed, after charging it like a command."""
        try:
            return read(text)
        except ClientCommandError:
            self.limits.charge(1)
            raise

    async def _run(self, command: Command) -> None:
        self.limits.note_valid()
        if command.action is CommandName.SUBSCRIBE:
            await self.subscribing.subscribe(command)
        elif command.action is CommandName.UNSUBSCRIBE:
            await self.subscribing.unsubscribe(command)
        elif command.action is CommandName.PING:
            await self.connection.send_frame(frames.pong(command.ref))
        # A pong is itself an answer, so it gets none.
