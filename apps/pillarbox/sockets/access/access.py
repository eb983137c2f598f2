"""Access of one socket: whose it is, and whether its user may see what it is about to send."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from ...conf import pillarbox_settings
from ...database import AWAY_OR_SLOW
from ...deadlines import timeout
from ...stream.commit_snapshots import CommitSnapshot
from ...stream.ends_of_rights import Object
from ...types.grants import SESSION, session_digest
from ..connection import Connection
from ..database import log_away
from ..reasons import EndReason
from ..subscriptions.subscription import Subscription
from ..subscriptions.subscriptions import Subscriptions
from ..turns import Turns
from .affected import Affected
from .authentication import is_expired
from .checks import KEEP, SIGN_OUT, UNAVAILABLE, AccessCheck, Decision
from .credentials import Credentials
from .ends_reader import EndsReader


class Access:
    """
    A socket's user, and the last decision about what the socket may keep.

    An end of a right that affects the socket makes it wait for an access check, which ``request_check``
    requests. Housekeeping makes the checks, for many sockets together.
    """

    def __init__(
        self,
        *,
        scope: dict[str, Any],
        connection: Connection,
        subscriptions: Subscriptions,
        turns: Turns,
        ends_reader: EndsReader,
        request_check: "Callable[[Access], None]",
    ) -> None:
        self._scope, self._connection, self._subscriptions = scope, connection, subscriptions
        self._turns, self._ends_reader, self._request_check = turns, ends_reader, request_check
        #: None until the handshake is authenticated.
        self.user: Any = None
        #: Set when the handshake is authenticated.
        self._credentials: Credentials
        #: When the credentials are to be verified again in any case, in Unix time.
        self.ask_again_at = math.inf
        #: The decision that the socket has yet to apply; `KEEP` if there is none.
        self.decision = KEEP
        self.times_affected = 0
        #: Set while an access check has covered all ends of rights that affect the socket.
        self.checked = asyncio.Event()
        self.checked.set()

    def admit(self, user: Any, credentials: Credentials) -> None:
        """Called with the user when the handshake has been authenticated."""
        self.user, self._credentials = user, credentials
        self.ask_again_at = credentials.expires_at

    # Ends of rights, and the access checks that they lead to

    def note(self, affected: Affected) -> None:
        """Called with what new ends of rights affect, which may be this socket."""
        session = self._credentials.session_key
        if session and affected.sessions and session_digest(session) in affected.sessions:
            self.sign_out()  # even if a cache still has the session
            return
        is_user, known = affected.has_user(self.user.pk), self._subscriptions.with_requested
        subscriptions = [one for one in known if is_user or affected.has_subscription(one)]
        if is_user or subscriptions:
            self.affect(subscriptions, affected.since)

    def affect(self, subscriptions: Iterable[Subscription], since: int) -> None:
        """Have the socket wait for an access check, because an end at the offset ``since`` affects it."""
        self.require_check()
        for subscription in subscriptions:
            subscription.affected_since = min(subscription.affected_since or since, since)
        self._request_check(self)

    def require_check(self) -> None:
        """Have the socket wait for an access check that begins after this call."""
        self.times_affected += 1
        self.checked.clear()

    @property
    def needs_check(self) -> bool:
        """Return whether the socket waits for an access check, or follows an object that is gone."""
        is_gone = any(s.gone_since is not None for s in self._subscriptions.values())
        return is_gone or not self.checked.is_set()

    @property
    def check(self) -> AccessCheck:
        """Return the facts for an access check."""
        return AccessCheck(
            credentials=self._credentials,
            user_pk=self.user.pk,
            subscriptions=tuple(self._subscriptions.values()),
            times_affected=self.times_affected,
        )

    @property
    def streams(self) -> list[str]:
        """Return the streams of the subscriptions."""
        return list(self._subscriptions)

    @property
    def session(self) -> Object:
        """Return the session as ends of rights name it. Without a session, a name that nothing has."""
        key = self._credentials.session_key
        return SESSION, session_digest(key) if key else ""

    # Decisions

    def accept(self, decision: Decision, check: AccessCheck, snapshot: CommitSnapshot) -> None:
        """Called with the decision of an access check, and a snapshot taken after it."""
        if self.decision.code is None:
            # An earlier decision that the socket hasn't applied stays valid, even if the right is back.
            self.decision = replace(decision, lost=(*self.decision.lost, *decision.lost))
        # An end of a right that arrived meanwhile needs another access check.
        if self.times_affected == check.times_affected:
            for subscription in check.subscriptions:
                subscription.raise_barrier(snapshot)
            self.checked.set()
        self._turns.schedule(self.apply_decision)

    def deny(self) -> None:
        """Have the socket closed, because its access check failed."""
        self.decision = UNAVAILABLE
        # A step that waits for the check goes on, and applies the decision.
        self.checked.set()
        self._turns.schedule(self.apply_decision)

    def sign_out(self) -> None:
        """Have the socket closed, before it sends anything else."""
        self.decision = SIGN_OUT
        self._turns.schedule(self.apply_decision)

    def check_expiry(self) -> None:
        """Have the socket closed at the time that a middleware has set, and checked at that of a JWT."""
        if is_expired(self._scope):
            self.sign_out()
        elif time.time() >= self.ask_again_at:
            # The class decides: it may accept an expired JWT for some seconds, because clocks differ.
            self.ask_again_at = math.inf
            self.require_check()
            self._request_check(self)

    async def apply_decision(self) -> None:
        """
        Apply the last decision: close the socket, or end the subscriptions that it may not keep.

        One whose object is gone ends after ``POSITION_CHECK_SECONDS``, if no DELETE has ended it before.
        """
        decision, self.decision = self.decision, KEEP
        self.user = decision.user or self.user
        if decision.code is not None:
            await self._connection.close(decision.code)
        for subscription in filter(self._subscriptions.has, decision.lost):
            await self._subscriptions.end(subscription, EndReason.REVOKED)
        for subscription in filter(self._subscriptions.has, decision.gone):
            # The object's DELETE should arrive soon, and ends the subscription. This is for one that is lost.
            now = self._connection.clock.now
            subscription.gone_since = subscription.gone_since or now
            if now - subscription.gone_since >= pillarbox_settings().POSITION_CHECK_SECONDS:
                await self._subscriptions.end(subscription, EndReason.DELETED)

    # What the socket may send

    def is_checked_up_to(self, stamp: int) -> bool:
        """Return whether rows with this stamp may be sent now: `may_send` would have nothing to wait for."""
        known = self._ends_reader.position.offset
        return stamp <= known and self.checked.is_set() and self.decision is KEEP

    async def may_send(self, stamp: int) -> bool:
        """
        Return whether rows with this stamp may be sent: ends up to it are known, and the socket is checked.

        False also if the socket is closed, or the database is away. The position check finds rows left out.
        """
        try:
            known = self._ends_reader.position.offset
            is_known = stamp <= known or await self._ends_reader.reach(stamp)
            await self.be_checked()
        except AWAY_OR_SLOW as error:
            log_away(error)
            return False
        return is_known and not self._connection.is_closed

    async def be_checked(self) -> None:
        """
        Wait for an outstanding access check, if there is one, and apply the last decision.

        Raises one of AWAY_OR_SLOW, such as TimeoutError if the check takes too long.
        """
        if not self.checked.is_set():
            async with timeout(pillarbox_settings().DATABASE_SECONDS):
                await self.checked.wait()
        if self.decision is not KEEP:
            await self.apply_decision()
