"""
The history of a run, as JSON lines: commits, publications, subscriptions, deliveries and faults.

Times are seconds since 1970. All processes run on this machine, so there is one clock.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A committed change, recorded in commit order. Its content is unique in each of its streams."""

    content: str
    streams: tuple[str, ...]
    at: float
    #: The names of the clients that had no right to see it when it was committed.
    hidden_from: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """An envelope that the channel layer accepted. Its content is None if subscribers see ``skipped``."""

    stream: str
    offset: int
    content: str | None
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """
    The start of a client's interest in a stream. It should be refused unless ``is_allowed``.

    The right of a guest ends and is given back; a guest may miss the notifications in between.
    """

    client: str
    stream: str
    at: float
    is_allowed: bool = True
    is_guest: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """The delivery of a change to a client."""

    client: str
    stream: str
    content: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A fault and how long it lasted. It concerned one client, or all if ``client`` is empty."""

    fault: str
    at: float
    until: float
    client: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """An error that a client detected itself, as one of the checker's kinds of error."""

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
    """Return a record as a line of JSON."""
    return json.dumps({"kind": type(record).__name__.lower(), **asdict(record)}) + "\n"


def write(records: Iterable[Record], path: Path) -> None:
    """Write a history, one line per record."""
    with path.open("w") as file:
        file.writelines(map(line, records))


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a history. Raises ValueError, which names the line, if one is malformed."""
    with path.open() as file:
        for number, text in enumerate(file, 1):
            try:
                yield _record(json.loads(text))
            except (KeyError, TypeError, ValueError):
                known = ", ".join(KINDS)
                expected = f"expected a JSON object whose kind is one of {known}."
                raise ValueError(f"{path}, line {number}: {expected}") from None


def content_of(payload: Any) -> Any:
    """Return a text that is unique to this payload in its stream; None if there is no payload."""
    if payload is None:
        return None
    return payload.get("title") or payload.get("name") or f"{payload['id']} is gone"


def journal_in(data_dir: Path) -> Path:
    """Return the path of the journal in which a site's channel layer records its publications."""
    return data_dir / "journal.jsonl"


def read_journal(path: Path) -> Iterator[Record]:
    """Yield the records of a journal. Ignores lines left incomplete by a killed process."""
    for text in path.read_text().splitlines() if path.exists() else ():
        with suppress(ValueError):
            yield _record(json.loads(text))


def _record(values: dict[str, Any]) -> Record:
    kind = KINDS[values.pop("kind")]
    for name in ("streams", "hidden_from"):
        if name in values:
            values[name] = tuple(values[name])
    return kind(**values)
