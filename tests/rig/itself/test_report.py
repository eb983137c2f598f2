"""Tests of a run's outcome: table, report with errors, and picture."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.rig.checker import check_history
from tests.rig.history import Broken, Committed, Followed, Published, Received, read
from tests.rig.reports.outcome import Outcome
from tests.rig.reports.picture import picture
from tests.rig.reports.report import discard, save, table
from tests.rig.scenarios import SCENARIOS

SVG = "{http://www.w3.org/2000/svg}"


def outcome(*, lost=0, hole=None, without=(), **values):
    """Return the outcome of ten published changes, of which a client was shown all but the last ``lost``."""
    history = [
        Followed(client="kim", stream="a", at=0.0),
        Broken(fault="kill_worker", at=2.0, until=3.0),
        Broken(fault="reset", at=2.0, until=3.0, client="kim"),
        *(Committed(content=f"{number}", streams=("a",), at=number) for number in range(1, 11)),
        *(
            Published(stream="a", offset=number, content=f"{number}", at=number + 0.1)
            for number in range(1, 11)
        ),
        *(
            Received(client="kim", stream="a", content=f"{number}", at=number + 0.25)
            for number in range(1, 11 - lost)
            if number != hole
        ),
    ]
    history = [record for record in history if not isinstance(record, without)]
    values = {"failed": 0, "kilobytes": 12.3, "transactions": None, "begun": 0.0, **values}
    return Outcome(
        scenario=replace(SCENARIOS["crash"], seconds=10.0),
        pattern="ours",
        history=history,
        result=check_history(history),
        **values,
    )


def test_the_table():
    """
    The table has one line per run, with all its figures.
    """
    lines = table([outcome(), outcome(lost=2, failed=3, transactions=41.7)]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    lags = ["0.250"] * 4
    counts = ["crash", "ours", "1", "10"]
    assert [*counts, "10", "0", "0", "0", "0", "0", "0", *lags, "12", ""] == cells[2]
    assert [*counts, "8", "2", "0", "0", "0", "0", "3", *lags, "12", "42"] == cells[3]
    assert {len(cells[0])} == set(map(len, cells))


@pytest.mark.parametrize(
    ("expected", "values"),
    [
        ([], {}),
        (["1 lost"], {"lost": 1}),
        (["1 saves failed"], {"failed": 1}),
        (["nothing was shown", "10 lost"], {"lost": 10}),
        (["nothing was committed"], {"without": (Committed, Published, Received)}),
        (["nothing was broken", "no client was cut off"], {"without": Broken}),
        (
            ["nothing was committed", "nothing was broken", "no client was cut off"],
            {"without": object},
        ),
    ],
)
def test_a_clean_outcome(expected, values):
    """
    An outcome is clean if the scenario's faults happened and there are no errors. Otherwise it has reasons.
    """
    one = outcome(**values)
    one.scenario = replace(one.scenario, cut_every=15.0)
    assert expected == one.wrong
    assert one.is_clean is not bool(expected)


def test_a_scenario_without_faults():
    """
    The outcome is clean without faults if its scenario has none.
    """
    one = outcome(without=Broken)
    one.scenario = SCENARIOS["steady"]
    assert one.is_clean


def test_a_late_notification():
    """
    An outcome is not clean if a notification took longer than the scenario allows.
    """
    late = outcome()
    late.scenario = replace(late.scenario, worst_lag=0.2)
    assert ["a notification took 0.2 s, more than 0.2"] == late.wrong


def test_save(tmp_path):
    """
    The history is saved as it was checked; the report has recoveries and examples of errors.
    """
    run = outcome(lost=1)
    save(run, tmp_path)
    assert run.history == list(read(tmp_path / "history.jsonl"))
    report = (tmp_path / "report.md").read_text()
    assert "| kill worker | 1 | 0.00 | 0.00 |" in report
    assert "lost: 1\n\n- kim, a: 10\n" in report
    assert "Published again at the same offset: 0. Obsolete rows: 0." in report
    run.result.lost *= 30
    run.result.recoveries.clear()
    save(run, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "lost: 30\n\n" in report
    assert (20, True) == (report.count("- kim, a: 10"), report.endswith("- …\n"))
    assert "kill worker" not in report


def test_discard(tmp_path):
    """
    The files of an earlier run are removed, except its logs.
    """
    save(outcome(), tmp_path)
    (tmp_path / "daphne.log").touch()
    discard(tmp_path)
    discard(tmp_path)
    assert ["daphne.log"] == [path.name for path in tmp_path.iterdir()]


def test_the_picture():
    """
    The picture is valid SVG for light and dark pages, with lags, faults of the site, and losses.
    """
    image = ElementTree.fromstring(picture(outcome(lost=2)))
    assert "prefers-color-scheme: dark" in image.find(f"{SVG}style").text
    assert ["median", "worst"] == [line.get("class") for line in image.iter(f"{SVG}polyline")]
    assert 8 == len(image.find(f"{SVG}polyline").get("points").split())
    assert [1, 2] == [
        len([one for one in image.iter() if one.get("class") == name]) for name in ("fault", "lost")
    ]


def test_a_line_is_interrupted():
    """
    A line has a hole at seconds of which no change was shown.
    """
    image = ElementTree.fromstring(picture(outcome(hole=4)))
    lines = list(image.iter(f"{SVG}polyline"))
    assert ["median", "median", "worst", "worst"] == [line.get("class") for line in lines]
    assert [3, 6] == [len(line.get("points").split()) for line in lines[:2]]
