"""
What happened in a run, as JSON lines: what was committed, published, followed and shown, and what was broken.

Times are seconds since 1970, by this machine's one clock.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A change that the database holds, in commit order. Its content is unique in each of its streams."""

    content: str
    streams: tuple[str, ...]
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """An envelope that the channel layer took."""

    stream: str
    offset: int
    content: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A client followed a stream from then on; or asked for it, and should have been refused."""

    client: str
    stream: str
    at: float
    is_allowed: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A client was shown a content."""

    client: str
    stream: str
    content: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """Something was broken for a while: for one client, or for all."""

    fault: str
    at: float
    until: float
    client: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """An error that a client itself found: which of the checker's it is, and what happened, so many times."""

    client: str
    error: str
    what: str
    times: int = 1


Record = Committed | Published | Followed | Received | Broken | Observed
KINDS: dict[str, type[Record]] = {
    kind.__name__.lower(): kind
    for kind in (Committed, Published, Followed, Received, Broken, Observed)
}


def line(record: Record) -> str:
    """Return the line of a record."""
    return json.dumps({"kind": type(record).__name__.lower(), **asdict(record)}) + "\n"


def write(records: Iterable[Record], path: Path) -> None:
    """Write a history, a line for each record."""
    with path.open("w") as file:
        file.writelines(map(line, records))


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a history. Raises ValueError, with the line, where one is none."""
    with path.open() as file:
        for number, text in enumerate(file, 1):
            try:
                yield _record(json.loads(text))
            except (KeyError, TypeError, ValueError):
                known = ", ".join(KINDS)
                expected = f"expected a JSON object whose kind is one of {known}."
                raise ValueError(f"{path}, line {number}: {expected}") from None


def journal_in(data_dir: Path) -> Path:
    """Return where the channel layer of a site notes what it took."""
    return data_dir / "journal.jsonl"


def read_journal(path: Path) -> Iterator[Record]:
    """Yield the records of a journal. A line that its process didn't live to end counts as not written."""
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield _record(json.loads(text))


def _record(values: dict[str, Any]) -> Record:
    kind = KINDS[values.pop("kind")]
    if "streams" in values:
        values["streams"] = tuple(values["streams"])
    return kind(**values)
