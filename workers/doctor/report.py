"""How the findings look: a calm table, or JSON."""

import json
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.core.management.color import Style, no_style

from .findings import Finding, Result, Verdict

WORDS = {Verdict.OK: "ok", Verdict.SKIPPED: "-", Verdict.WARN: "warn", Verdict.FAIL: "FAIL"}
#: Django's own names for what is green, yellow and red on a terminal.
COLOURS = {Verdict.OK: "SUCCESS", Verdict.WARN: "WARNING", Verdict.FAIL: "ERROR"}
INDENT = " " * 22
NARROWEST, WIDEST = 60, 110


class Table:
    """Writes each result when it is there, so that whoever waits sees what for."""

    def __init__(self, stdout: OutputWrapper, style: Style) -> None:
        self._stdout = stdout
        self._style = style if stdout.isatty() else no_style()
        self._width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns))

    def add(self, result: Result) -> None:
        """Write a line, and its findings below it."""
        paint = getattr(self._style, COLOURS.get(result.verdict, ""), str)
        word = paint(f"{WORDS[result.verdict]:<5}")
        first, *others = [_parts(finding) for finding in result.findings] or [[("", result.seen)]]
        self._write(f"{word} {result.check:<14}  ", first)
        for parts in others:
            self._write(INDENT, parts)

    def end(self, results: list[Result], seconds: float) -> None:
        """Write the last line: the verdict, and how long it took."""
        verdict, sentence = verdict_of(results)
        paint = getattr(self._style, COLOURS[verdict], str)
        self._stdout.write("")
        self._stdout.write(paint(f"{sentence} ({len(results)} checks, {seconds:.1f} s)"))

    def _write(self, start: str, parts: list[tuple[str, str]]) -> None:
        for name, text in parts:
            lead = f"{name}: " if name else ""
            wrapped = textwrap.wrap(
                scrubbed(f"{lead}{text}"), self._width - len(INDENT), break_on_hyphens=False
            ) or [""]
            self._stdout.write(f"{start}{wrapped[0]}".rstrip())
            for line in wrapped[1:]:
                self._stdout.write(f"{INDENT}{line}")
            start = INDENT
        self._stdout.flush()


def as_json(results: list[Result], seconds: float) -> str:
    """Return the results as a JSON object, for programs."""
    verdict, sentence = verdict_of(results)
    shown: dict[str, Any] = {
        "verdict": verdict.name.lower(),
        "summary": sentence,
        "seconds": round(seconds, 3),
        "checks": [
            {
                "check": result.check,
                "verdict": result.verdict.name.lower(),
                "seen": scrubbed(result.seen),
                "seconds": round(result.seconds, 3),
                "findings": [
                    {
                        "verdict": finding.verdict.name.lower(),
                        "what": scrubbed(finding.what),
                        "why": scrubbed(finding.why),
                        "do": scrubbed(finding.cure),
                    }
                    for finding in result.findings
                ],
            }
            for result in results
        ],
    }
    return json.dumps(shown, indent=2, ensure_ascii=False)


def verdict_of(results: list[Result]) -> tuple[Verdict, str]:
    """Return the verdict on all of it, and a sentence that says which checks found something."""
    failed, warned, skipped = (
        [result.check for result in results if result.verdict is verdict]
        for verdict in (Verdict.FAIL, Verdict.WARN, Verdict.SKIPPED)
    )
    warnings = f"warnings: {', '.join(warned)}." if warned else ""
    if failed:
        parts = [f"FAIL: {', '.join(failed)}.", warnings.capitalize()]
        parts.append(f"{len(skipped)} not looked at." if skipped else "")
        return Verdict.FAIL, " ".join(filter(None, parts))
    return (Verdict.WARN, f"It works; {warnings}") if warned else (Verdict.OK, "All is well.")


def scrubbed(text: str) -> str:
    """Return a text without the passwords of the settings' addresses."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> Iterable[str]:
    yield settings.DATABASES["default"].get("PASSWORD") or "\0"
    for url in (settings.REDIS_URL, settings.CELERY_BROKER_URL):
        if password := urlsplit(url).password:
            yield from {password, unquote(password)}


def _parts(finding: Finding) -> list[tuple[str, str]]:
    return [("", finding.what), ("why", finding.why), ("do", finding.cure)]
