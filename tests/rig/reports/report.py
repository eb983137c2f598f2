"""The outcomes of runs as Markdown tables, and the report of a run with its errors."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from ..checker import ERRORS, SHOWN
from ..history import write
from .outcome import Outcome
from .picture import picture

COLUMNS = (
    "scenario", "pattern", "clients", "changes", "shown", "lost", "repeated", "reordered", "foreign",
    "uncommitted", "saves failed", "p50", "p95", "p99", "worst s", "kB", "transactions",
)  # fmt: skip
HISTORY, PICTURE, REPORT = "history.jsonl", "lag.svg", "report.md"
#: How many errors of each kind a report lists.
EXAMPLES = 20


def table(outcomes: Iterable[Outcome]) -> str:
    """Return a table with a line per outcome. kB and transactions are per client."""
    lines = [_line(COLUMNS), _line("---" for _ in COLUMNS)]
    return "\n".join([*lines, *(_line(_cells(outcome)) for outcome in outcomes)])


def recoveries(outcome: Outcome) -> list[str]:
    """Return a table of recoveries: the seconds from the end of a fault to the last delivery it delayed."""
    if not outcome.result.recoveries:
        return []
    lines = [_line(("fault", "times", "median", "worst s")), _line("---" for _ in range(4))]
    for fault, seconds in sorted(outcome.result.recoveries.items()):
        figures = (f"{median(seconds):.2f}", f"{max(seconds):.2f}")
        lines.append(_line((fault.replace("_", " "), str(len(seconds)), *figures)))
    return ["\n".join(lines)]


def published(outcome: Outcome) -> str:
    """Return the figures of the publications as sentences."""
    result = outcome.result
    return (
        f"Published again at the same offset: {result.again}. Obsolete rows: {result.obsolete}."
        f" The slowest publication took {result.worst_publication:.3f} s."
    )


def discard(folder: Path) -> None:
    """Remove an earlier run's files: if this run fails, they must not be taken for its own."""
    for name in (HISTORY, PICTURE, REPORT):
        (folder / name).unlink(missing_ok=True)


def save(outcome: Outcome, folder: Path) -> None:
    """Write history, picture and report of a run."""
    write(outcome.history, folder / HISTORY)
    (folder / PICTURE).write_text(picture(outcome))
    parts = [
        f"# {outcome.scenario.name}, {outcome.pattern}",
        outcome.scenario.description,
        table([outcome]),
        published(outcome),
    ]
    parts += recoveries(outcome)
    for kind in ERRORS:
        found: Sequence[str] = getattr(outcome.result, kind)
        if found:
            more = ["…"] if len(found) > EXAMPLES else []
            parts.append(
                "\n".join([f"{kind}: {len(found)}", "", *_items([*found[:EXAMPLES], *more])])
            )
    (folder / REPORT).write_text("\n\n".join(parts) + "\n")


def _cells(outcome: Outcome) -> Iterable[str]:
    result = outcome.result
    counts = (result.clients, result.changes, len(result.lags))
    errors = (len(getattr(result, kind)) for kind in SHOWN)
    lags = (f"{result.lag(part):.3f}" for part in (0.5, 0.95, 0.99, 1))
    transactions = "" if outcome.transactions is None else f"{outcome.transactions:.0f}"
    numbers = map(str, (*counts, *errors, outcome.failed))
    return (
        outcome.scenario.name, outcome.pattern, *numbers, *lags, f"{outcome.kilobytes:.0f}", transactions
    )  # fmt: skip


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _items(sentences: Iterable[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]
