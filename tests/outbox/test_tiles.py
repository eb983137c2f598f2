"""The numbers behind the verdict."""

from dataclasses import replace
from datetime import UTC, datetime

from apps.outbox.instances import Known
from apps.outbox.running import Running
from apps.outbox.tiles import lines, tiles
from tests.outbox.test_health import BUSY, EMPTY, FLOWING, HUNG, LATE, STILL, WELL

DASH = "\N{EN DASH}"


def values(*facts):
    return {tile.name: tile.value for tile in tiles(*facts)}


def bad(*facts):
    return [tile.name for tile in tiles(*facts) if tile.is_bad]


def test_of_a_site_that_is_well():
    """
    Numbers with their units, none of them bad.
    """
    running = replace(WELL, sockets=1234, subscriptions=2345, drained_seconds=1.0)
    assert values(BUSY, FLOWING, running) == {
        "Waiting": "1",
        "Tried again later": "0",
        "Failed, to be replayed": "0",
        "Coming in": "50.0",
        "Going out": "40.0",
        "Breaker": "closed",
        "Last good drain": "1 s ago",
        "Last sweep": "0 s ago",
        "Sockets": "1\u00a0234",
    }
    assert [] == bad(BUSY, FLOWING, running)
    notes = {tile.name: tile.note for tile in tiles(BUSY, FLOWING, running)}
    assert "the oldest for 0 s" == notes["Waiting"]
    assert "2\u00a0345 subscriptions, 1 Daphne" == notes["Sockets"]
    assert ("2 workers", "1 beat") == (notes["Last good drain"], notes["Last sweep"])


def test_of_a_site_on_which_nothing_runs():
    """
    Dashes where nobody says anything.
    """
    found = values(EMPTY, STILL, Running())
    assert {DASH} == {
        found[name] for name in ("Breaker", "Last good drain", "Last sweep", "Sockets")
    }
    assert ["Last good drain", "Last sweep", "Sockets"] == bad(EMPTY, STILL, Running())


def test_what_is_bad_is_marked():
    """
    What waits too long, is retried or failed, an open breaker, a drain long ago.
    """
    backlog = replace(LATE, is_more=True, retrying=1, unreplayed=1, failed=2)
    running = replace(HUNG, breaker="refused")
    assert "312+" == values(backlog, STILL, running)["Waiting"]
    assert "open" == values(backlog, STILL, running)["Breaker"]
    assert bad(backlog, STILL, running) == [
        "Waiting",
        "Tried again later",
        "Failed, to be replayed",
        "Breaker",
        "Last good drain",
    ]


def test_numbers_lead_to_the_rows_that_they_count():
    """
    Those that are to be replayed don't lead to those that somebody has replayed.
    """
    queries = {tile.name: tile.query for tile in tiles(EMPTY, STILL, WELL) if tile.query}
    assert queries == {
        "Waiting": "state=pending",
        "Tried again later": "state=retrying",
        "Failed, to be replayed": "state=unreplayed",
    }


def test_processes_are_lines():
    """
    The dead ones, too.
    """
    started = datetime(2026, 11, 22, 20, 1, 2, tzinfo=UTC)
    (line,) = lines(
        [Known(name="w@h:1", kind="worker", started_at=started, silent_seconds=130.0, facts={})]
    )
    assert ("worker", "w@h:1", "2026-11-22 20:01:02 UTC", "2 min ago", False) == (
        line.kind,
        line.name,
        line.runs,
        line.heard,
        line.is_alive,
    )
