"""The protocol as apps/realtime/README.md has it, and whether what a real server says is in it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

README = Path(__file__).parent.parent / "apps/realtime/README.md"

#: What never goes out: traces of Python, of SQL, of libraries.
INNER = re.compile(
    r"Traceback|Exception|\w(?:Error|Serializer|Field)\b|SELECT|relation \"|psycopg|django|apps\."
)
#: The README has a type for these in prose.
TYPES: dict[str, tuple[type, ...]] = {"ref": (int, str)}

Frame = dict[str, Any]


class Protocol:
    """What the README says: frames with their fields, codes, reasons; and what of it was seen."""

    def __init__(self) -> None:
        text = README.read_text()
        self.frames: dict[str, tuple[Frame, Frame]] = dict(_frames(text))
        self.error_codes = set(_column(_section(text, "Errors")))
        self.close_codes = {int(code) for code in _column(_section(text, "Close codes"))}
        self.reasons = {("unsubscribed", "requested"), *_reasons(text)}
        self.documented = {
            *((kind, field) for kind, fields in self.frames.items() for field in _names(*fields)),
            *(("error code", code) for code in self.error_codes),
            *(("close code", code) for code in self.close_codes),
            *(("reason", *reason) for reason in self.reasons),
        }
        self.seen: set[tuple[Any, ...]] = set()

    def look_at_close(self, code: Any) -> None:
        """Note the code with which a server ended a socket. Fails if the README doesn't have it."""
        assert code in self.close_codes, code
        self.seen.add(("close code", code))

    def look_at(self, text: str, said: bytes = b"") -> Frame:
        """
        Return a server's frame, and note it. Fails if the README lacks it, or it says too much.

        What the client ``said`` itself, it may be told.
        """
        assert all(word.encode() in said for word in INNER.findall(text)), text
        frame: Frame = json.loads(text)
        kind = "NOTIFICATION" if frame["type"].isupper() else frame["type"]
        assert kind in self.frames, frame
        always, sometimes = self.frames[kind]
        examples = {**always, **sometimes}
        assert set(always) <= set(frame) <= set(examples), frame
        for field, value in frame.items():
            assert _is_like(field, value, examples[field]), frame
            self.seen.add((kind, field))
        if "code" in frame:
            assert frame["code"] in self.error_codes
            self.seen.add(("error code", frame["code"]))
        if "reason" in frame:
            assert (kind, frame["reason"]) in self.reasons
            self.seen.add(("reason", kind, frame["reason"]))
        return frame


def _is_like(field: str, value: Any, example: Any) -> bool:
    """Whether a value is of the example's type; of an object whose fields the README names, each of them."""
    is_of_type = type(value) in TYPES.get(field, (type(example),))
    if not isinstance(example, dict) or not example:
        return is_of_type
    return (
        is_of_type
        and set(value) == set(example)
        and all(_is_like(inner, value[inner], example[inner]) for inner in example)
    )


def _names(always: Frame, sometimes: Frame) -> set[str]:
    return {*always, *sometimes}


def _frames(text: str) -> Iterator[tuple[str, tuple[Frame, Frame]]]:
    """Yield each type of frame, an example of it, and the fields that it has sometimes."""
    longer = [
        json.loads(_filled(block)) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    ]
    for cells in _rows(_section(text, "Every frame")):
        always = json.loads(_filled(cells[0].strip("`")))
        kind = "NOTIFICATION" if always["type"].isupper() else always["type"]
        sometimes: Frame = {}
        for fields in re.findall(r"`(.*?)`", cells[1]):
            sometimes |= json.loads(f"{{{_filled(fields)}}}")
        for example in longer:
            if example["type"] == always["type"]:
                # An example shows what a frame may have; of hello it is the only one.
                always = example if kind == "hello" else always
                assert set(example) <= _names(always, sometimes), example
        yield kind, (always, sometimes)


def _filled(example: str) -> str:
    return example.replace("{…}", "{}").replace("[…]", "[]").replace(", …}", "}")


def _section(text: str, title: str) -> str:
    return text.partition(f"### {title}\n")[2].partition("\n##")[0]


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _column(section: str) -> list[str]:
    return [cells[0].strip("`") for cells in _rows(section)]


def _reasons(text: str) -> Iterator[tuple[str, str]]:
    for kind, reasons, _ in _rows(_section(text, "What the server says by itself")):
        for reason in re.findall(r"`(\w+)`", reasons):
            yield kind.strip("`"), reason
