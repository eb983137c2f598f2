"""The Markdown tables that benchmarks print."""

import statistics
from collections.abc import Mapping, Sequence


def header(*cells: str) -> None:
    """Print the header of a table."""
    print(f"\n| {' | '.join(cells)} |\n|{'---|' * len(cells)}")


def row(*cells: object) -> None:
    """Print a row of the table."""
    print(f"| {' | '.join(map(str, cells))} |")


def compare(title: str, found: Mapping[str, Sequence[float]], digits: int = 0) -> None:
    """Print a table of the values of each turn, relative to the last entry: the plain pattern."""
    header(title, "median", "least", "most", "relative")
    plain = statistics.median(list(found.values())[-1])
    for name, values in found.items():
        median = statistics.median(values)
        cells = [f"{value:.{digits}f}" for value in (median, min(values), max(values))]
        row(name, *cells, f"{median / plain:.2f}" if plain > 0.01 else "")
