"""What is shown of a run: a table, what was wrong, a picture."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from config.verify.checker import judge
from config.verify.history import Committed, Followed, Harmed, Received, read
from config.verify.picture import picture
from config.verify.report import save, table
from config.verify.run import Outcome
from config.verify.scenarios import SCENARIOS

SVG = "{http://www.w3.org/2000/svg}"


def outcome(*, lost=0, hole=None, **values):
    """A run of ten changes, of which one client was shown all but the last few."""
    history = [
        Followed(client="kim", stream="a", at=0.0),
        Harmed(harm="kill_worker", at=2.0, until=3.0),
        Harmed(harm="reset", at=2.0, until=3.0, client="kim"),
        *(Committed(content=f"{number}", streams=("a",), at=number) for number in range(1, 11)),
        *(
            Received(client="kim", stream="a", content=f"{number}", at=number + 0.25)
            for number in range(1, 11 - lost)
            if number != hole
        ),
    ]
    values = {"failed": 0, "kilobytes": 12.3, "transactions": None, "begun": 0.0, **values}
    return Outcome(
        scenario=replace(SCENARIOS["crash"], seconds=10.0),
        pattern="ours",
        history=history,
        verdict=judge(history),
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
    [(True, {}), (False, {"lost": 1}), (False, {"failed": 1}), (False, {"lost": 10})],
)
def test_what_is_clean(expected, values):
    """
    Nothing wrong, and something shown.
    """
    assert expected is outcome(**values).is_clean


def test_what_is_late_is_wrong():
    """
    A notification that takes longer than the scenario allows.
    """
    late = outcome()
    late.scenario = replace(late.scenario, worst_lag=0.2)
    assert not late.is_clean


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
    run.verdict.lost *= 30
    run.verdict.recoveries.clear()
    save(run, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "lost: 30\n\n" in report
    assert (20, True) == (report.count("- kim, a: 10"), report.endswith("- …\n"))
    assert "kill worker" not in report


def test_the_picture():
    """
    Valid SVG, for light and dark pages: lags, what was broken for all, and when something was lost.
    """
    image = ElementTree.fromstring(picture(outcome(lost=2)))
    assert "prefers-color-scheme: dark" in image.find(f"{SVG}style").text
    assert ["median", "worst"] == [line.get("class") for line in image.iter(f"{SVG}polyline")]
    assert 8 == len(image.find(f"{SVG}polyline").get("points").split())
    assert [1, 2] == [
        len([one for one in image.iter() if one.get("class") == name]) for name in ("harm", "lost")
    ]


def test_a_line_has_holes():
    """
    Where nothing that was committed was shown, there is no line.
    """
    image = ElementTree.fromstring(picture(outcome(hole=4)))
    lines = list(image.iter(f"{SVG}polyline"))
    assert ["median", "median", "worst", "worst"] == [line.get("class") for line in lines]
    assert [3, 6] == [len(line.get("points").split()) for line in lines[:2]]
