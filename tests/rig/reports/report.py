"""The outcomes of runs as tables in Markdown, and the errors by client and stream."""

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
#: Errors of a kind that are written out.
EXAMPLES = 20


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes side by side. kB and transactions are of each client."""
    lines = [_line(COLUMNS), _line("---" for _ in COLUMNS)]
    return "\n".join([*lines, *(_line(_cells(outcome)) for outcome in outcomes)])


def recoveries(outcome: Outcome) -> list[str]:
    """Return a table: how long after the end of each fault the last delivery it held up came, in seconds."""
    if not outcome.result.recoveries:
        return []
    lines = [_line(("fault", "times", "median", "worst s")), _line("---" for _ in range(4))]
    for fault, seconds in sorted(outcome.result.recoveries.items()):
        figures = (f"{median(seconds):.2f}", f"{max(seconds):.2f}")
        lines.append(_line((fault.replace("_", " "), str(len(seconds)), *figures)))
    return ["\n".join(lines)]


def published(outcome: Outcome) -> str:
    """Return how the channel layer was used."""
    result = outcome.result
    return (
        f"Published again at the same offset: {result.again}."
        f" The slowest publication took {result.worst_publication:.3f} s."
    )


def discard(folder: Path) -> None:
    """Remove the files of an earlier run. If this one fails, they must not be taken for its own."""
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
