"""What benchmarks print."""

import statistics
from collections.abc import Mapping, Sequence


def header(*cells: str) -> None:
    """Begin a table."""
    print(f"\n| {' | '.join(cells)} |\n|{'---|' * len(cells)}")


def row(*cells: object) -> None:
    """Print a row of it."""
    print(f"| {' | '.join(map(str, cells))} |")


def compare(what: str, found: Mapping[str, Sequence[float]], digits: int = 0) -> None:
    """Print what was measured in each turn, beside what was measured last: the plain pattern."""
    header(what, "median", "least", "most", "relative")
    plain = statistics.median(list(found.values())[-1])
    for name, values in found.items():
        median = statistics.median(values)
        cells = [f"{value:.{digits}f}" for value in (median, min(values), max(values))]
        row(name, *cells, f"{median / plain:.2f}" if plain > 0.01 else "")
