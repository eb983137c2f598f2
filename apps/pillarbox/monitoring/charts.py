"""Charts of per-minute counts, as bars in the units of an SVG. Pure functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC

from ..formats import duration, number
from .minute_counts import Bucket

#: The width per bar including its gap, the gap, and the heights of the highest and the lowest bar.
STEP, GAP, HEIGHT, LEAST = 10, 2, 100, 3
NOT_COUNTED = "\N{EN DASH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """The bar of one bucket: its position from the left and the top, and its tooltip."""

    x: int
    y: float
    height: float
    title: str
    #: True if no minute of the bucket was counted; then there is no bar.
    is_missing: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Strip:
    """One quantity over time, on its own scale."""

    #: One word; also names the CSS class of its colour.
    name: str
    unit: str
    #: The highest value, and a sentence for users who can't see the bars.
    most: str
    description: str
    bars: list[Bar]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Several strips over the same period, and the same figures as a table."""

    name: str
    title: str
    width: int
    #: True if some bucket was not counted.
    has_missing: bool
    starts: str
    ends: str
    strips: list[Strip]
    #: Time, captured, published, obsolete, failed, longest lag; dashes for buckets not counted.
    table: list[tuple[str, ...]]


def chart(name: str, title: str, minutes: int, buckets: list[Bucket]) -> Chart:
    """Return the chart of at least one bucket, oldest first, of ``minutes`` each. Times are in UTC."""
    each = "minute" if minutes == 1 else f"{minutes} minutes"
    return Chart(
        name=name,
        title=title,
        width=STEP * len(buckets),
        has_missing=not all(bucket.counted for bucket in buckets),
        starts=_time(buckets[0]),
        ends=_time(buckets[-1]),
        strips=[
            _strip("published", f"each {each}", buckets, lambda bucket: bucket.published, number),
            _strip("failed", f"each {each}", buckets, lambda bucket: bucket.failed, number),
            _strip("lag", "longest", buckets, lambda bucket: bucket.lag, duration),
        ],
        table=[_line(bucket) for bucket in reversed(buckets)],
    )


def _strip(
    name: str,
    unit: str,
    buckets: list[Bucket],
    value: Callable[[Bucket], float],
    as_text: Callable[[float], str],
) -> Strip:
    most = max(map(value, buckets))
    bars = []
    for place, bucket in enumerate(buckets):
        # Even a small value gets a visible bar.
        height = max(LEAST, HEIGHT * value(bucket) / most) if value(bucket) else 0.0
        words = as_text(value(bucket)) if bucket.counted else "not counted"
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
        most=as_text(most),
        description=_described(buckets, value, as_text),
        bars=bars,
    )


def _described(
    buckets: list[Bucket], value: Callable[[Bucket], float], as_text: Callable[[float], str]
) -> str:
    """Return a sentence with the highest value, its time, and the last value."""
    counted = [bucket for bucket in buckets if bucket.counted]
    if not counted:
        return "Nothing was counted in this period."
    highest, last = max(counted, key=value), counted[-1]
    return (
        f"At most {as_text(value(highest))}, at {_time(highest)}; "
        f"{as_text(value(last))} at the end, {_time(last)}."
    )


def _line(bucket: Bucket) -> tuple[str, ...]:
    numbers: Sequence[float] = (
        bucket.captured,
        bucket.published,
        bucket.obsolete,
        bucket.failed,
    )
    if not bucket.counted:
        return _time(bucket), *[NOT_COUNTED] * (len(numbers) + 1)
    return _time(bucket), *map(number, numbers), duration(bucket.lag)


def _time(bucket: Bucket) -> str:
    return f"{bucket.starts_at.astimezone(UTC):%H:%M}"
