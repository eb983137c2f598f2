"""The outcome of a run: a table, a report with the errors, a picture."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.rig.checker import judge
from tests.rig.history import Broken, Committed, Followed, Published, Received, read
from tests.rig.reports.outcome import Outcome
from tests.rig.reports.picture import picture
from tests.rig.reports.report import discard, save, table
from tests.rig.scenarios import SCENARIOS

SVG = "{http://www.w3.org/2000/svg}"


def outcome(*, lost=0, hole=None, without=(), **values):
    """A run of ten published changes, of which one client was shown all but the last few."""
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
        result=judge(history),
        **values,
    )


def test_the_table():
    """
    A line for each run, with all that is counted and measured.
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
def test_what_is_clean(expected, values):
    """
    What was to happen happened, and nothing is wrong; else the outcome says what it is.
    """
    one = outcome(**values)
    one.scenario = replace(one.scenario, cut_every=15.0)
    assert expected == one.wrong
    assert one.is_clean is not bool(expected)


def test_what_need_not_happen():
    """
    A scenario without faults needs none.
    """
    one = outcome(without=Broken)
    one.scenario = SCENARIOS["steady"]
    assert one.is_clean


def test_what_is_late_is_wrong():
    """
    A notification that takes longer than the scenario allows.
    """
    late = outcome()
    late.scenario = replace(late.scenario, worst_lag=0.2)
    assert ["a notification took 0.2 s, more than 0.2"] == late.wrong


def test_what_is_saved(tmp_path):
    """
    The history as it was judged; the report with recoveries, and with examples of what is wrong.
    """
    run = outcome(lost=1)
    save(run, tmp_path)
    assert run.history == list(read(tmp_path / "history.jsonl"))
    report = (tmp_path / "report.md").read_text()
    assert "| kill worker | 1 | 0.00 | 0.00 |" in report
    assert "lost: 1\n\n- kim, a: 10\n" in report
    assert "Published again at the same offset: 0." in report
    run.result.lost *= 30
    run.result.recoveries.clear()
    save(run, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "lost: 30\n\n" in report
    assert (20, True) == (report.count("- kim, a: 10"), report.endswith("- …\n"))
    assert "kill worker" not in report


def test_what_an_earlier_run_left(tmp_path):
    """
    It is gone before the next one begins, and the logs are not.
    """
    save(outcome(), tmp_path)
    (tmp_path / "daphne.log").touch()
    discard(tmp_path)
    discard(tmp_path)
    assert ["daphne.log"] == [path.name for path in tmp_path.iterdir()]


def test_the_picture():
    """
    Valid SVG, for light and dark pages: lags, what was broken for all, and when something was lost.
    """
    image = ElementTree.fromstring(picture(outcome(lost=2)))
    assert "prefers-color-scheme: dark" in image.find(f"{SVG}style").text
    assert ["median", "worst"] == [line.get("class") for line in image.iter(f"{SVG}polyline")]
    assert 8 == len(image.find(f"{SVG}polyline").get("points").split())
    assert [1, 2] == [
        len([one for one in image.iter() if one.get("class") == name]) for name in ("fault", "lost")
    ]


def test_a_line_has_holes():
    """
    Where nothing that was committed was shown, there is no line.
    """
    image = ElementTree.fromstring(picture(outcome(hole=4)))
    lines = list(image.iter(f"{SVG}polyline"))
    assert ["median", "median", "worst", "worst"] == [line.get("class") for line in lines]
    assert [3, 6] == [len(line.get("points").split()) for line in lines[:2]]
