"""What buckets of minutes look like: bars of an SVG, in its own units. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC

from .minutes import Bucket

#: A bar's share of the width, with the gap; and the height of the highest bar and of the lowest.
STEP, GAP, HEIGHT, LEAST = 10, 2, 100, 3
NOT_COUNTED = "\N{EN DASH}"
#: From here on tenths of a second are not said.
LONG_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One bucket's bar, from the left and from above, and what is said of it."""

    x: int
    y: float
    height: float
    title: str
    #: Whether nobody counted: there is a space, and no bar.
    is_missing: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One quantity over time, on a scale of its own."""

    #: A word, also the name of its colour.
    name: str
    unit: str
    #: The highest value, and a sentence for who doesn't see the bars.
    most: str
    description: str
    bars: list[Bar]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Some strips over the same time, and the same as a table."""

    name: str
    title: str
    width: int
    #: Whether there is something that nobody counted.
    has_missing: bool
    starts: str
    ends: str
    strips: list[Strip]
    #: Time, captured, published, failed, longest lag; of what nobody counted, dashes.
    table: list[tuple[str, str, str, str, str]]


def chart(name: str, title: str, minutes: int, buckets: list[Bucket]) -> Chart:
    """Return the chart of buckets of so many minutes each: one at least, oldest first. Times are UTC."""
    each = "minute" if minutes == 1 else f"{minutes} minutes"
    return Chart(
        name=name,
        title=title,
        width=STEP * len(buckets),
        has_missing=not all(bucket.counted for bucket in buckets),
        starts=_time(buckets[0]),
        ends=_time(buckets[-1]),
        strips=[
            _strip("published", f"each {each}", buckets, lambda bucket: bucket.published, _number),
            _strip("failed", f"each {each}", buckets, lambda bucket: bucket.failed, _number),
            _strip("lag", "longest", buckets, lambda bucket: bucket.lag, seconds),
        ],
        table=[_line(bucket) for bucket in reversed(buckets)],
    )


def seconds(value: float) -> str:
    """Return a time with as many digits as matter."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < LONG_SECONDS else f"{value:.0f} s"


def _strip(
    name: str,
    unit: str,
    buckets: list[Bucket],
    value: Callable[[Bucket], float],
    said: Callable[[float], str],
) -> Strip:
    most = max(map(value, buckets))
    bars = []
    for place, bucket in enumerate(buckets):
        # What is more than nothing is seen.
        height = max(LEAST, HEIGHT * value(bucket) / most) if value(bucket) else 0.0
        words = said(value(bucket)) if bucket.counted else "not counted"
        bars.append(
            Bar(
                x=STEP * place + GAP // 2,
                y=round(HEIGHT - height, 1),
                height=round(height, 1),
                title=f"{_time(bucket)}: {words}",
                is_missing=not bucket.counted,
            )
        )
    return Strip(
        name=name,
        unit=unit,
        most=said(most),
        description=_described(buckets, value, said),
        bars=bars,
    )


def _described(
    buckets: list[Bucket], value: Callable[[Bucket], float], said: Callable[[float], str]
) -> str:
    """Return what matters: the highest value and when it was, and the last one."""
    counted = [bucket for bucket in buckets if bucket.counted]
    if not counted:
        return "Nothing was counted in this time."
    highest, last = max(counted, key=value), counted[-1]
    return (
        f"At most {said(value(highest))}, at {_time(highest)}; "
        f"{said(value(last))} at the end, {_time(last)}."
    )


def _line(bucket: Bucket) -> tuple[str, str, str, str, str]:
    if not bucket.counted:
        return _time(bucket), NOT_COUNTED, NOT_COUNTED, NOT_COUNTED, NOT_COUNTED
    numbers: Iterable[float] = (bucket.captured, bucket.published, bucket.failed)
    captured, published, failed = map(_number, numbers)
    return _time(bucket), captured, published, failed, seconds(bucket.lag)


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", "\N{NO-BREAK SPACE}")


def _time(bucket: Bucket) -> str:
    return f"{bucket.starts_at.astimezone(UTC):%H:%M}"
