"""The processes that should run, by their own reports, which need no broker."""

from django.db import DEFAULT_DB_ALIAS

from apps.outbox.instances import Known, known

from .findings import Answer, Finding, unless

COMMANDS = {
    "worker": (
        "Nothing is published: rows wait in the outbox, and sockets read them there.",
        "worker",
    ),
    "beat": ("What no bell was heard for waits, retries too, and nothing is pruned.", "beat"),
    "daphne": ("Nobody can connect a socket.", "daphne"),
}


def workers_live() -> Answer:
    """Workers run, and none has fallen silent."""
    return _living("worker", _known("worker"))


def beat_lives() -> Answer:
    """Beat runs, or the workers need none."""
    if not any(each.is_alive for each in _known("beat")) and sweepers():
        return "none, and none is needed: workers sweep by themselves"
    return _living("beat", _known("beat"))


def daphne_lives() -> Answer:
    """Daphnes run, and none has fallen silent."""
    return _living("daphne", _known("daphne"))


def _living(kind: str, seen: list[Known]) -> Answer:
    living = [each for each in seen if each.is_alive]
    if not living:
        return [_nobody(kind, seen)]
    silent = [each for each in seen if not each.is_alive]
    return unless([_silent(silent)] if silent else [], f"{len(living)} alive")


def _known(kind: str) -> list[Known]:
    return [each for each in known(using=DEFAULT_DB_ALIAS) if each.kind == kind]


def alive(kind: str) -> list[Known]:
    """Return the instances of a kind that live."""
    return [each for each in _known(kind) if each.is_alive]


def sweepers() -> list[Known]:
    """Return who sweeps: beat, and workers that are run without it."""
    return alive("beat") + [each for each in alive("worker") if "swept_at" in each.facts]


def _nobody(kind: str, seen: list[Known]) -> Finding:
    last = min((each.silent_seconds for each in seen), default=None)
    when = f"; the last was heard of {last:.0f} seconds ago" if last is not None else ""
    why, process = COMMANDS[kind]
    return Finding(
        what=f"No {kind} is alive{when}.",
        why=why,
        cure=f"Start the Procfile's `{process}`; if it was running, its log says how it ended.",
        is_grave=True,
    )


def _silent(gone: list[Known]) -> Finding:
    names = ", ".join(f"{each.name} ({each.silent_seconds:.0f} s ago)" for each in gone)
    return Finding(
        what=f"Heard of in the last hour, and fell silent: {names}.",
        why="It was killed, hangs, or can't reach the database. Others do its work.",
        cure="See its log and its host; the kernel kills who takes too much memory. If it is meant to go, "
        "this forgets it within an hour.",
    )
