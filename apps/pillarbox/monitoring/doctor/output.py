"""The output of the findings: a table for people, or JSON for programs."""

import json
import shutil
import textwrap
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.management.base import OutputWrapper
from django.core.management.color import Style, no_style

from ...layer.addresses import broker_url, wake_up_host
from .findings import Finding, Result, Severity

LABELS = {Severity.OK: "ok", Severity.SKIPPED: "-", Severity.WARN: "warn", Severity.FAIL: "FAIL"}
#: Django's names for green, yellow and red on a terminal.
COLOURS = {Severity.OK: "SUCCESS", Severity.WARN: "WARNING", Severity.FAIL: "ERROR"}
INDENT = " " * 22
NARROWEST, WIDEST = 60, 110


class Table:
    """A table that prints each result as soon as it is known."""

    def __init__(self, stdout: OutputWrapper, style: Style) -> None:
        self._stdout = stdout
        self._style = style if stdout.isatty() else no_style()
        self._width = min(WIDEST, max(NARROWEST, shutil.get_terminal_size().columns))

    def add(self, result: Result) -> None:
        """Print a result's line, and its findings below it."""
        paint = getattr(self._style, COLOURS.get(result.severity, ""), str)
        label = paint(f"{LABELS[result.severity]:<5}")
        first, *others = [_parts(finding) for finding in result.findings] or [
            [("", result.summary)]
        ]
        self._write(f"{label} {result.check:<14}  ", first)
        for parts in others:
            self._write(INDENT, parts)

    def end(self, results: list[Result], seconds: float) -> None:
        """Print the last line: the overall severity, and the duration."""
        severity, sentence = overall(results)
        paint = getattr(self._style, COLOURS[severity], str)
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
    severity, sentence = overall(results)
    shown: dict[str, Any] = {
        "severity": severity.name.lower(),
        "summary": sentence,
        "seconds": round(seconds, 3),
        "checks": [
            {
                "check": result.check,
                "severity": result.severity.name.lower(),
                "seen": scrubbed(result.summary),
                "seconds": round(result.seconds, 3),
                "findings": [
                    {
                        "severity": finding.severity.name.lower(),
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


def overall(results: list[Result]) -> tuple[Severity, str]:
    """Return the overall severity, and a sentence that names the checks with findings."""
    failed, warned, skipped = (
        [result.check for result in results if result.severity is severity]
        for severity in (Severity.FAIL, Severity.WARN, Severity.SKIPPED)
    )
    warnings = f"warnings: {', '.join(warned)}." if warned else ""
    if failed:
        parts = [f"FAIL: {', '.join(failed)}.", warnings.capitalize()]
        parts.append(f"{len(skipped)} skipped." if skipped else "")
        return Severity.FAIL, " ".join(filter(None, parts))
    return (Severity.WARN, f"It works; {warnings}") if warned else (Severity.OK, "All is well.")


def scrubbed(text: str) -> str:
    """Return the text without the passwords in the settings."""
    for secret in _secrets():
        text = text.replace(secret, "***")
    return text


def _secrets() -> Iterable[str]:
    yield settings.DATABASES["default"].get("PASSWORD") or "\0"
    host = wake_up_host()
    yield host.get("password") or "\0"
    for url in (host.get("address", ""), broker_url()):
        if password := urlsplit(url).password:
            yield from {password, unquote(password)}


def _parts(finding: Finding) -> list[tuple[str, str]]:
    return [("", finding.what), ("why", finding.why), ("do", finding.cure)]
