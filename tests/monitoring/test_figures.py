"""The figures behind the overall status."""

from dataclasses import replace
from datetime import UTC, datetime

from pillarbox.monitoring.figures import figures, process_lines
from pillarbox.monitoring.process_summary import ProcessSummary
from pillarbox.monitoring.processes import ProcessReport
from tests.monitoring.test_diagnosis import BUSY, EMPTY, FLOWING, HUNG, LATE, STILL, WELL, of

DASH = "\N{EN DASH}"


def values(*facts):
    return {figure.name: figure.value for figure in figures(of(*facts))}


def bad(*facts):
    return [figure.name for figure in figures(of(*facts)) if figure.is_bad]


def test_of_a_site_that_is_well():
    """
    The figures have units, and none is marked as bad.
    """
    processes = replace(WELL, sockets=1234, subscriptions=2345, drained_seconds=1.0)
    assert values(BUSY, FLOWING, processes) == {
        "Waiting": "1",
        "To be retried": "0",
        "Failed, to be replayed": "0",
        "Coming in": "50.0",
        "Going out": "40.0",
        "Breaker": "closed",
        "Last good drain": "1 s ago",
        "Last sweep": "0 s ago",
        "Sockets": "1\u00a0234",
    }
    assert [] == bad(BUSY, FLOWING, processes)
    notes = {figure.name: figure.note for figure in figures(of(BUSY, FLOWING, processes))}
    assert "the oldest for 0 s" == notes["Waiting"]
    assert "2\u00a0345 subscriptions, 1 Daphne" == notes["Sockets"]
    assert ("2 workers", "1 beat") == (notes["Last good drain"], notes["Last sweep"])


def test_of_a_site_on_which_nothing_runs():
    """
    Unknown figures are dashes.
    """
    found = values(EMPTY, STILL, ProcessSummary())
    assert {DASH} == {
        found[name] for name in ("Breaker", "Last good drain", "Last sweep", "Sockets")
    }
    assert ["Last good drain", "Last sweep", "Sockets"] == bad(EMPTY, STILL, ProcessSummary())


def test_bad_figures_are_marked():
    """
    Late, retried and failed rows, an open breaker and an old drain are marked.
    """
    backlog = replace(LATE, is_more=True, retrying=1, unreplayed=1, failed=2)
    processes = replace(HUNG, breakers={"worker@a:1": "refused"})
    assert "312+" == values(backlog, STILL, processes)["Waiting"]
    assert "open" == values(backlog, STILL, processes)["Breaker"]
    assert bad(backlog, STILL, processes) == [
        "Waiting",
        "To be retried",
        "Failed, to be replayed",
        "Breaker",
        "Last good drain",
    ]


def test_numbers_lead_to_the_rows_that_they_count():
    """
    Each link shows exactly the rows counted; replayed rows are left out.
    """
    queries = {
        figure.name: figure.query for figure in figures(of(EMPTY, STILL, WELL)) if figure.query
    }
    assert queries == {
        "Waiting": "state=pending",
        "To be retried": "state=retrying",
        "Failed, to be replayed": "state=unreplayed",
    }


def test_processes_are_lines():
    """
    Processes that are gone have lines, too.
    """
    started = datetime(2026, 11, 22, 20, 1, 2, tzinfo=UTC)
    (line,) = process_lines(
        [
            ProcessReport(
                name="w@h:1", kind="worker", started_at=started, silent_seconds=130.0, facts={}
            )
        ]
    )
    assert ("worker", "w@h:1", "2026-11-22 20:01:02 UTC", "2 min ago", False) == (
        line.kind,
        line.name,
        line.started,
        line.reported,
        line.is_alive,
    )
