"""Numbers, durations, sizes and errors as text for operators. Pure functions."""

from redis.exceptions import AskError, ClusterCrossSlotError, ClusterError, MovedError

#: The errors of the nodes of a Redis Cluster, and what is said of it.
OF_CLUSTERS = (AskError, ClusterCrossSlotError, ClusterError, MovedError)
IN_CLUSTER = "is part of a Redis Cluster, which doesn't work here"
#: From this duration on, tenths of a second are left out.
LONG_SECONDS = 10.0


def number(value: float) -> str:
    """
    Return a number without decimals, with a no-break space between thousands.

    >>> number(1234.4)
    '1\\xa0234'
    """
    return _separated(f"{value:,.0f}")


def rate(value: float) -> str:
    """
    Return a number of rows per second with one decimal, separated like `number`.

    >>> rate(1234.44)
    '1\\xa0234.4'
    """
    return _separated(f"{value:,.1f}")


def age(seconds: float) -> str:
    """
    Return an age in one unit, from seconds to days.

    >>> [age(seconds) for seconds in (38, 720, 18_000, 259_200)]
    ['38 s', '12 min', '5 h', '3 d']
    """
    for limit, length, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def duration(seconds: float) -> str:
    """
    Return a duration rounded to what a reader needs.

    >>> [duration(seconds) for seconds in (0.0123, 1.25, 38.2)]
    ['12 ms', '1.2 s', '38 s']
    """
    if seconds < 1:
        return milliseconds(seconds)
    return f"{seconds:.1f} s" if seconds < LONG_SECONDS else f"{seconds:.0f} s"


def milliseconds(seconds: float, *, decimals: int = 0) -> str:
    """
    Return a short duration in milliseconds.

    >>> milliseconds(0.0123), milliseconds(0.00123, decimals=1)
    ('12 ms', '1.2 ms')
    """
    return f"{seconds * 1000:.{decimals}f} ms"


def days(seconds: float) -> str:
    """
    Return a duration in days.

    >>> days(129_600)
    '1.5 days'
    """
    return f"{seconds / 86_400:.1f} days"


def megabytes(size: int) -> str:
    """
    Return a size, given in bytes, in megabytes.

    >>> megabytes(5_000_000)
    '5 MB'
    """
    return f"{number(size / 1e6)} MB"


def gigabytes(size: int) -> str:
    """
    Return a size, given in bytes, in gigabytes.

    >>> gigabytes(5_000_000_000)
    '5 GB'
    """
    return f"{number(size / 1e9)} GB"


def one_line(error: BaseException) -> str:
    r"""
    Return an error's message in one line, or the name of its class if it has none.

    The errors of a Redis Cluster, which name a slot at most, get a sentence.

    >>> one_line(OSError("refused\n  by the host")), one_line(TimeoutError())
    ('refused by the host', 'TimeoutError')
    >>> one_line(MovedError("332 127.0.0.1:7001"))
    "Redis is part of a Redis Cluster, which doesn't work here (MovedError: 332 127.0.0.1:7001)"
    """
    text = " ".join(str(error).split()) or type(error).__name__
    # Celery's errors of its broker have the errors of Redis as their cause.
    for known in (error, error.__cause__):
        if isinstance(known, OF_CLUSTERS):
            return f"Redis {IN_CLUSTER} ({type(known).__name__}: {text})"
    return text


def _separated(digits: str) -> str:
    """Replace the commas between thousands by no-break spaces."""
    return digits.replace(",", "\N{NO-BREAK SPACE}")
