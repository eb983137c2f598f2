"""What happened in a run, as JSON lines: who followed what, what was committed, heard and harmed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: Times are seconds since 1970, by the one clock of this machine.


@dataclass(frozen=True, kw_only=True, slots=True)
class Followed:
    """A client followed a stream, from then on; or asked for it, and should have been refused."""

    client: str
    stream: str
    at: float
    is_allowed: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Committed:
    """A change that the database holds, told by its content, which is unique; in commit order."""

    content: str
    streams: tuple[str, ...]
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A client was shown a content."""

    client: str
    stream: str
    content: str
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Harmed:
    """Something was broken for a while: for one client, or for all."""

    harm: str
    at: float
    until: float
    client: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Observed:
    """What a client itself found wrong: which error of the checker's that is, and what, so many times."""

    client: str
    error: str
    what: str
    times: int = 1


Record = Followed | Committed | Received | Harmed | Observed
KINDS: dict[str, type[Record]] = {
    kind.__name__.lower(): kind for kind in (Followed, Committed, Received, Harmed, Observed)
}


def write(records: Iterable[Record], path: Path) -> None:
    """Write a history, a line for each record."""
    with path.open("w") as file:
        for record in records:
            file.write(json.dumps({"kind": type(record).__name__.lower(), **asdict(record)}) + "\n")


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a history. Raises ValueError, with the line, where one is none."""
    with path.open() as file:
        for number, line in enumerate(file, 1):
            try:
                yield _record(json.loads(line))
            except (KeyError, TypeError, ValueError):
                known = ", ".join(KINDS)
                text = (
                    f"{path}, line {number}: expected a JSON object whose kind is one of {known}."
                )
                raise ValueError(text) from None


def _record(values: dict[str, Any]) -> Record:
    kind = KINDS[values.pop("kind")]
    if "streams" in values:
        values["streams"] = tuple(values["streams"])
    return kind(**values)
