"""The protocol as its page in the documentation has it, to check a real server's frames against."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "apps/pillarbox/docs/reference/protocol.md"

#: Texts that no frame may have: traces of Python, SQL and libraries.
INNER = re.compile(
    r"Traceback|Exception|\w(?:Error|Serializer|Field)\b|SELECT|relation \"|psycopg|django|apps\."
)
#: Fields whose types the page gives in prose.
TYPES: dict[str, tuple[type, ...]] = {"ref": (int, str)}

Frame = dict[str, Any]


class Protocol:
    """The documented frames with their fields, codes and reasons, and the ones that were seen."""

    def __init__(self) -> None:
        text = PAGE.read_text()
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

    def check_close_code(self, code: Any) -> None:
        """Record a close code of the server. Fails if the page doesn't document it."""
        assert code in self.close_codes, code
        self.seen.add(("close code", code))

    def check_frame(self, text: str, sent: bytes = b"") -> Frame:
        """
        Record a frame of the server, and return it. Fails if it isn't documented, or has forbidden texts.

        Texts that the client itself ``sent`` are allowed.
        """
        assert all(word.encode() in sent for word in INNER.findall(text)), text
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
    """Whether a value has the example's type. An object must have the example's fields, with their types."""
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
    """Yield each type of frame with its required and its optional fields, as examples."""
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
                # An example may have optional fields. Only the example of hello has all fields.
                always = example if kind == "hello" else always
                assert set(example) <= _names(always, sometimes), example
        yield kind, (always, sometimes)


def _filled(example: str) -> str:
    return example.replace("{…}", "{}").replace("[…]", "[]").replace(", …}", "}")


def _section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def _column(section: str) -> list[str]:
    return [cells[0].strip("`") for cells in _rows(section)]


def _reasons(text: str) -> Iterator[tuple[str, str]]:
    for kind, reasons, _ in _rows(_section(text, "What the server says by itself")):
        for reason in re.findall(r"`(\w+)`", reasons):
            yield kind.strip("`"), reason
