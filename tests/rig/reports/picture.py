"""A picture of a run: the lag of notifications over time, and the faults."""

import math
from collections import defaultdict
from collections.abc import Iterator
from html import escape
from itertools import count, takewhile
from statistics import median

from ..history import Broken, Committed
from .outcome import Outcome

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 960, 360, 60, 48, 40
#: The logarithmic scale of lags: from a millisecond to a hundred seconds.
LEAST, DECADES = 0.001, 5
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">
<style>
svg {{ background: #fff; font: 12px system-ui, sans-serif }}
text {{ fill: #333 }} .grid {{ stroke: #ddd }} .fault {{ fill: #d33; opacity: .15 }}
.fault-name {{ fill: #a00; font-size: 9px }} .median {{ fill: none; stroke: #06c; stroke-width: 2 }}
.worst {{ fill: none; stroke: #e80; stroke-width: 1.5 }} .lost {{ stroke: #d33; stroke-width: 2 }}
@media (prefers-color-scheme: dark) {{
svg {{ background: #181818 }} text {{ fill: #ccc }} .grid {{ stroke: #444 }} .fault {{ opacity: .3 }}
.fault-name {{ fill: #f99 }} .median {{ stroke: #6af }} .worst {{ stroke: #fa4 }} .lost {{ stroke: #f66 }}
}}
</style>
<text x="{left}" y="18">{title}</text>
<text x="{left}" y="34">{legend}</text>
{body}
</svg>
"""


def picture(outcome: Outcome) -> str:
    """Return the picture as SVG, which suits light and dark pages."""
    marks = [*_grid(outcome), *_faults(outcome), *_lines(outcome), *_losses(outcome)]
    result = outcome.result
    legend = (
        "Median lag (blue) and worst lag (orange) of each second's changes; faults (bands);"
        f" losses (ticks below): {len(result.lost)}"
    )
    title = f"{outcome.scenario.name}, {outcome.pattern}: {len(result.lags)} notifications shown"
    return FRAME.format(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        title=escape(title),
        legend=legend,
        body="\n".join(marks),
    )


def _x(seconds: float, outcome: Outcome) -> float:
    part = min(max(seconds, 0.0) / outcome.scenario.seconds, 1.1)
    return round(LEFT + part * (WIDTH - LEFT - 20) / 1.1, 1)


def _y(lag: float) -> float:
    part = min(max(math.log10(max(lag, LEAST) / LEAST) / DECADES, 0.0), 1.0)
    return round(HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP), 1)


def _grid(outcome: Outcome) -> Iterator[str]:
    for power, name in enumerate(("1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s")):
        y = _y(LEAST * 10**power)
        yield f'<line class="grid" x1="{LEFT}" y1="{y}" x2="{WIDTH - 20}" y2="{y}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{name}</text>'
    step = max(1, round(outcome.scenario.seconds / 10))
    for second in range(0, math.ceil(outcome.scenario.seconds) + 1, step):
        x = _x(second, outcome)
        yield f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="middle">{second} s</text>'


def _faults(outcome: Outcome) -> Iterator[str]:
    """Yield a band for each fault of the site; faults of single clients are left out."""
    for fault in outcome.history:
        if isinstance(fault, Broken) and not fault.client:
            x, end = (_x(at - outcome.begun, outcome) for at in (fault.at, fault.until))
            size = f'width="{max(2.0, round(end - x, 1))}" height="{HEIGHT - BOTTOM - TOP}"'
            yield f'<rect class="fault" x="{x}" y="{TOP}" {size}/>'
            place = f'transform="translate({x + 8} {TOP + 4}) rotate(90)"'
            yield f'<text class="fault-name" {place}>{escape(fault.fault.replace("_", " "))}</text>'


def _lines(outcome: Outcome) -> Iterator[str]:
    lags: dict[int, list[float]] = defaultdict(list)
    for at, lag in outcome.result.deliveries:
        lags[math.floor(at - outcome.begun)].append(lag)
    by_second = dict(sorted(lags.items()))
    for name, of in (("median", median), ("worst", max)):
        for start in (second for second in by_second if second - 1 not in by_second):
            # A line is interrupted in seconds of which no change was shown.
            seconds = takewhile(by_second.__contains__, count(start))
            points = (f"{_x(at + 0.5, outcome)},{_y(of(by_second[at]))}" for at in seconds)
            yield f'<polyline class="{name}" points="{" ".join(points)}"/>'


def _losses(outcome: Outcome) -> Iterator[str]:
    """Yield a tick for each second in which a change was committed that is lost."""
    lost = {sentence.rpartition(": ")[2] for sentence in outcome.result.lost}
    seconds = {
        math.floor(change.at - outcome.begun)
        for change in outcome.history
        if isinstance(change, Committed) and change.content in lost
    }
    for second in sorted(seconds):
        x, y = _x(second + 0.5, outcome), HEIGHT - BOTTOM
        yield f'<line class="lost" x1="{x}" y1="{y}" x2="{x}" y2="{y + 10}"/>'
