"""How old notifications are when they come, and how old they may be."""

import time

from tests.waiting import until

#: Within which a lost push is found, and what a busy machine adds.
FOUND_SECONDS, MARGIN_SECONDS = 5.0, 2.0


#: What comes from a worker is younger, what comes from the position check is older.
LIVE_SECONDS, LOOKED_AT_SECONDS = 1.0, 3.0


async def heard(client, count):
    """Return when a client has heard so many more."""
    until_then = len(client.heard) + count
    await until(lambda: len(client.heard) >= until_then)


def is_live(client, since):
    """Whether all has come as soon as it was there, for longer than a position check comes round."""
    now = time.time()
    recent = client.lags(now - LOOKED_AT_SECONDS, now)
    return now > since + LOOKED_AT_SECONDS and recent and max(recent) < LIVE_SECONDS


def live_since(client, since):
    """Return the moment after another one from which all came as soon as it was there."""
    return max([since, *(at for at, lag in client.heard if lag >= LIVE_SECONDS)])
