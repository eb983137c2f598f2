"""What a client may follow: wishes are granted, or refused, each on its own."""

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import TypeVar

from . import frames
from .catch_up import read_page
from .commands import Command
from .conf import realtime_settings
from .database import DATABASE_AWAY, shared
from .exceptions import CommandError
from .forwarding import ForwardingSocket, note_away
from .metrics import RESUME
from .resume import Opened, Wish, open_wishes, read_present
from .subscriptions import Subscription

T = TypeVar("T")

logger = logging.getLogger(__name__)


class SubscribingSocket(ForwardingSocket):
    """Subscribes and unsubscribes, as the client asks."""

    async def subscribe(self, command: Command) -> None:
        """Join the groups, then read the positions, then answer: nothing committed later is missed."""
        asked = [
            entry if isinstance(entry, CommandError) else Wish.of(self.user, entry)
            for entry in command.entries
        ]
        outcomes = await self._open([wish for wish in asked if isinstance(wish, Wish)])
        for index, wish in enumerate(asked):
            answered = frames.answer(command.ref, index if command.is_several else None)
            try:
                await self._begin(wish, outcomes, answered)
            except CommandError as refusal:
                await self.refuse(refusal, answered)

    async def unsubscribe(self, command: Command) -> None:
        """Leave the group. Leaving what was not joined is no error."""
        subscription = Subscription.of(self.user, command.values)
        await self.leave(subscription)
        await self.send_frame(frames.unsubscribed(subscription.subject, "requested", command.ref))

    async def _open(self, wishes: list[Wish]) -> dict[str, Opened | CommandError]:
        """Return by stream what becomes of wishes. The groups of those that are granted are joined."""
        first: dict[str, Wish] = {}
        for wish in wishes:
            first.setdefault(wish.subscription.stream, wish)
        new = [wish for stream, wish in first.items() if stream not in self.subscriptions]
        room = realtime_settings().SUBSCRIPTIONS - len(self.subscriptions)
        if room <= 0:  # nobody is asked, so that the answer tells nothing
            return {wish.subscription.stream: _full() for wish in new}
        joined = await asyncio.gather(*(self.join(wish.subscription.group) for wish in new))
        outcomes = _within(room, await self._ask_for(new)) if all(joined) else _all_away(new)
        for wish in new:
            if isinstance(outcomes[wish.subscription.stream], CommandError):
                await self.leave(wish.subscription)
        return outcomes

    async def _ask_for(self, wishes: list[Wish]) -> dict[str, Opened | CommandError]:
        """Return by stream what becomes of wishes, asked for together; alone, if something is broken."""
        if not wishes:
            return {}
        streams = [wish.subscription.stream for wish in wishes]
        try:
            granted = await _answer(self.ask(open_wishes, self.user, wishes), streams)
        except CommandError as refusal:
            if refusal.temporary or len(wishes) == 1:
                return dict.fromkeys(streams, refusal)
            # One of them, probably: the others are not to suffer for it.
            alone = [await self._ask_for([wish]) for wish in wishes]
            return {stream: outcome for each in alone for stream, outcome in each.items()}
        return {stream: granted.get(stream, _not_found()) for stream in streams}

    async def _begin(
        self,
        wish: Wish | CommandError,
        outcomes: Mapping[str, Opened | CommandError],
        answered: frames.Frame,
    ) -> None:
        """Answer an entry of a command, and send what comes with the answer. Raises CommandError."""
        if isinstance(wish, CommandError):
            raise wish
        known = self.subscriptions.get(wish.subscription.stream)
        if known is not None:
            await self._repeat(known, wish, answered)
            return
        outcome = outcomes.get(wish.subscription.stream, _not_found())
        if isinstance(outcome, CommandError):
            raise outcome
        await self._start(wish.subscription, outcome, answered)

    async def _start(
        self, subscription: Subscription, opened: Opened, answered: frames.Frame
    ) -> None:
        subscription.move_to(opened.position)
        page = None
        if opened.missed:
            RESUME.inc()
            reading = shared(read_page, subscription.stream, subscription.offset)
            try:
                page = await _answer(reading, [subscription.stream])
            except CommandError:
                await self.leave(subscription)
                raise
        self.subscriptions[subscription.stream] = subscription
        await self.send_frame(frames.subscribed(answered, subscription, opened))
        if opened.shows_present:
            self.show(subscription, answered)
        if page is not None:
            await self.send_page(subscription, page)

    async def _repeat(self, known: Subscription, wish: Wish, answered: frames.Frame) -> None:
        """
        Answer who follows it already where the subscription stands.

        If that is not where the client stands, it goes on from the present, which the answer shows.
        """
        recovered = None if wish.since is None else wish.since == known.position
        opened = Opened(position=known.position, recovered=recovered)
        if wish.wants_snapshot or recovered is False:
            present = await _answer(self.ask(read_present, self.user, known), [known.stream])
            if present is None:
                raise _not_found()
            opened = replace(present, recovered=recovered)
        if recovered is False:
            known.move_to(opened.position)
        await self.send_frame(frames.subscribed(answered, known, opened))
        if opened.shows_present:
            self.show(known, answered)

    async def refuse(self, refusal: CommandError, answered: frames.Frame) -> None:
        await self.send_frame(frames.error(refusal, answered))


def _within(
    room: int, outcomes: Mapping[str, Opened | CommandError]
) -> dict[str, Opened | CommandError]:
    """Return what becomes of wishes where there is room for so many: what isn't granted takes none."""
    granted = [stream for stream, outcome in outcomes.items() if isinstance(outcome, Opened)]
    return {**outcomes, **{stream: _full() for stream in granted[room:]}}


async def _answer(question: Awaitable[T], streams: list[str]) -> T:
    """Return what the database says. Raises CommandError if it says nothing, or can't be asked like this."""
    try:
        return await question
    except DATABASE_AWAY as error:
        note_away(error)
        raise _away() from None
    except Exception:  # a permission and a serializer are somebody else's code
        known = {"action": "subscribe_failed", "streams": streams}
        logger.exception("A subscription failed", extra=known)
        raise CommandError("internal", "The server is at fault. It has been noted.") from None


def _all_away(wishes: list[Wish]) -> dict[str, Opened | CommandError]:
    return {wish.subscription.stream: _away() for wish in wishes}


def _away() -> CommandError:
    return CommandError("unavailable", "Try again later.", temporary=True)


def _full() -> CommandError:
    return CommandError("limit", "This socket has as many subscriptions as it may have.")


def _not_found() -> CommandError:
    return CommandError("not_found", "There is no such object, or you may not see it.")
