"""The commands ``subscribe`` and ``unsubscribe``. Each requested subscription starts or fails separately."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...conf import pillarbox_settings
from ...exceptions import ClientCommandError
from ...metrics.sockets import RESUME
from .. import frames
from ..access.access import Access
from ..access.reads import Reads
from ..connection import Connection
from ..reasons import EndReason
from ..subscriptions.forwarder import Forwarder
from ..subscriptions.snapshots import Snapshots
from ..subscriptions.starts import Start, SubscribeRequest, find_starts, read_present
from ..subscriptions.subscription import Subscription
from ..subscriptions.subscriptions import Subscriptions
from .parsing import Command
from .refusals import limit_reached, not_found, result_of, unavailable


@dataclass(kw_only=True, slots=True, eq=False)
class SubscribeCommands:
    """The part of a socket that subscribes and unsubscribes."""

    connection: Connection
    subscriptions: Subscriptions
    access: Access
    reads: Reads
    snapshots: Snapshots
    forwarder: Forwarder

    async def subscribe(self, command: Command) -> None:
        """Join the groups, then read the positions, then answer: nothing committed later is missed."""
        requests = [
            entry
            if isinstance(entry, ClientCommandError)
            else SubscribeRequest.of(self.access.user, entry)
            for entry in command.entries
        ]
        valid = [request for request in requests if isinstance(request, SubscribeRequest)]
        outcomes = await self._outcomes(valid)
        for index, request in enumerate(requests):
            answered = frames.answer(command.ref, index if command.is_several else None)
            try:
                await self._answer(request, outcomes, answered)
            except ClientCommandError as refusal:
                await self.connection.send_frame(frames.error(refusal, answered))
            await asyncio.sleep(0)  # lets other sockets run between the answers
        self.subscriptions.requested = []

    async def unsubscribe(self, command: Command) -> None:
        """End a subscription. It is no error if there is none."""
        subscription = Subscription.of(self.access.user, command.values)
        await self.subscriptions.end(subscription, EndReason.REQUESTED, command.ref)

    async def _outcomes(
        self, requests: list[SubscribeRequest]
    ) -> dict[str, Start | ClientCommandError]:
        """Return the outcomes of requests for new subscriptions, by stream. Joins the groups of starts."""
        first: dict[str, SubscribeRequest] = {}
        for request in requests:
            first.setdefault(request.subscription.stream, request)
        new = [request for stream, request in first.items() if stream not in self.subscriptions]
        free = pillarbox_settings().SUBSCRIPTIONS - len(self.subscriptions)
        if free <= 0:  # without a query, so that the answer doesn't tell which objects exist
            return {request.subscription.stream: limit_reached() for request in new}
        # From here on, ends of rights that affect them are noted.
        self.subscriptions.requested = [request.subscription for request in new]
        is_joined = await self.subscriptions.join(self.subscriptions.requested)
        outcomes = _limited(await self._find(new), free) if is_joined else _all_unavailable(new)
        for request in new:
            if isinstance(outcomes[request.subscription.stream], ClientCommandError):
                await self.subscriptions.leave(request.subscription)
        return outcomes

    async def _find(
        self, requests: list[SubscribeRequest]
    ) -> dict[str, Start | ClientCommandError]:
        """Return the outcomes of requests, by stream: found together or, if that fails, one by one."""
        if not requests:
            return {}
        streams = [request.subscription.stream for request in requests]
        try:
            starts = await result_of(self.reads.read(find_starts, requests), streams)
        except ClientCommandError as refusal:
            if refusal.temporary or len(requests) == 1:
                return dict.fromkeys(streams, refusal)
            # Perhaps only one of them fails.
            alone = [await self._find([request]) for request in requests]
            return {stream: outcome for each in alone for stream, outcome in each.items()}
        return {stream: starts.get(stream, not_found()) for stream in streams}

    async def _answer(
        self,
        request: SubscribeRequest | ClientCommandError,
        outcomes: Mapping[str, Start | ClientCommandError],
        answered: frames.Frame,
    ) -> None:
        """Answer an entry of a command, and send what follows the answer. Raises ClientCommandError."""
        if isinstance(request, ClientCommandError):
            raise request
        known = self.subscriptions.get(request.subscription.stream)
        if known is not None:
            await self._repeat(known, request, answered)
            return
        outcome = outcomes.get(request.subscription.stream, not_found())
        if isinstance(outcome, ClientCommandError):
            raise outcome
        await self._start(request.subscription, outcome, answered)

    async def _start(
        self, subscription: Subscription, start: Start, answered: frames.Frame
    ) -> None:
        subscription.move_to(start.position)
        subscription.barrier = start.barrier
        page = None
        if start.missed:
            RESUME.inc()
            subscription.resumed_to = subscription.offset + start.missed
            try:
                page = await result_of(
                    self.forwarder.read_page(subscription), [subscription.stream]
                )
            except ClientCommandError:
                await self.subscriptions.leave(subscription)
                raise
        self.subscriptions[subscription.stream] = subscription
        # An access check made meanwhile may not have included the subscription.
        if subscription.affected_since:
            self.access.affect([subscription], subscription.affected_since)
        await self.connection.send_frame(frames.subscribed(answered, subscription, start))
        if start.shows_present:
            self.snapshots.begin(subscription, answered)
        if page is not None:
            await self.forwarder.send_page(subscription, page)

    async def _repeat(
        self, known: Subscription, request: SubscribeRequest, answered: frames.Frame
    ) -> None:
        """
        Answer a request for a subscription that has started already.

        If the client resumes from another position than the subscription's, it continues from the present
        state, which follows the answer.
        """
        recovered = None if request.since is None else request.since == known.position
        start = Start(position=known.position, recovered=recovered)
        if request.wants_snapshot or recovered is False:
            reading = self.reads.read(read_present, known)
            present = await result_of(reading, [known.stream])
            if present is None or not self.subscriptions.has(known):
                raise not_found()
            start = replace(present, recovered=recovered)
        if recovered is False:
            known.move_to(start.position)
        await self.connection.send_frame(frames.subscribed(answered, known, start))
        if start.shows_present:
            self.snapshots.begin(known, answered)


def _limited(
    outcomes: Mapping[str, Start | ClientCommandError], free: int
) -> dict[str, Start | ClientCommandError]:
    """Return outcomes with at most ``free`` starts. Refused requests don't count."""
    starts = [stream for stream, outcome in outcomes.items() if isinstance(outcome, Start)]
    return {**outcomes, **{stream: limit_reached() for stream in starts[free:]}}


def _all_unavailable(requests: list[SubscribeRequest]) -> dict[str, Start | ClientCommandError]:
    return {request.subscription.stream: unavailable() for request in requests}
