"""The output of `manage.py pillarbox replay`: sentences for people, or JSON for programs."""

from typing import Any

from ..models import Replay
from ..replay.criteria import Criteria
from ..replay.eligibility import SUPERSEDED
from ..replay.preview import Preview


def preview_json(found: Preview, *, is_current: bool) -> dict[str, Any]:
    """Return a preview as JSON."""
    outcomes = found.current if is_current else found.recorded
    return {
        "total": found.total,
        "replayed": found.replayed,
        "tried": found.tried,
        "announced": outcomes.get("", 0),
        "left_out": {reason: rows for reason, rows in outcomes.items() if reason},
        "causes": [cause._asdict() for cause in found.causes],
        "events": [count._asdict() for count in found.events],
    }


def preview_lines(
    found: Preview, criteria: Criteria, *, is_resend: bool, is_current: bool
) -> list[str]:
    """Return a preview as sentences."""
    state = "published" if is_resend else "failed"
    outcomes = found.current if is_current else found.recorded
    lines = [f"{found.total} {state} rows match: {criteria}."]
    if found.replayed:
        lines.append(f"{found.replayed} of them were replayed before.")
    if found.tried:
        oldest = (
            "" if found.tried == found.total else f"Of the {found.tried} oldest of the others, "
        )
        lines.append(f"{oldest}{outcomes.get('', 0)} would be announced.")
        lines += [f"  {rows} not: {reason}" for reason, rows in outcomes.items() if reason]
    lines += [
        f"  {c.rows} by {c.fingerprint}: {c.error_type}: {c.error_message[:80]}"
        for c in found.causes
    ]
    lines += [f"  {count.rows} {count.event} of {count.object_type}" for count in found.events]
    return lines


def outcome_json(replay: Replay) -> dict[str, Any]:
    """Return what a replay has done, as JSON."""
    return {
        "replay": str(replay.pk),
        "total": replay.total,
        "announced": replay.announced,
        "superseded": replay.superseded,
        "refused": replay.refused,
        "refusals": replay.refusals,
        "is_cancelled": replay.cancelled_at is not None,
        "position": replay.position,
    }


def outcome_lines(replay: Replay) -> list[str]:
    """Return what a replay has done, as sentences."""
    lines = [f"{replay.announced} of {replay.total} rows are announced again."]
    if replay.superseded:
        lines.append(f"  {replay.superseded} not: {SUPERSEDED}")
    lines += [f"  {rows} not: {reason}" for reason, rows in replay.refusals.items()]
    if replay.cancelled_at is not None:
        lines.append(f"Cancelled. The rest is --after {replay.position}.")
    return lines
