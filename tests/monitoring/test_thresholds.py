"""Tests of the alerts: each is a view of the diagnosis, or has its threshold beside the others."""

import re
from pathlib import Path

from pillarbox.metrics.rows import BUCKETS
from pillarbox.monitoring.problems import State
from pillarbox.monitoring.thresholds import ALERTS

ROOT = Path(__file__).parent.parent.parent
RULES = dict(re.findall(r"alert: (\w+)\n +expr: (.*)\n", (ROOT / "config/alerts.yml").read_text()))


def test_each_alert_uses_the_diagnosis_or_a_threshold():
    """
    A rule asks for the status or the problems, in states that there are; or its number is in the table.
    """
    of_counts = {}
    for name, expression in RULES.items():
        if re.search(r"notifier_(status|problems)\b", expression):
            assert {*re.findall(r'state="(\w+)"', expression)} <= {*State}
        else:
            of_counts[name] = float(re.search(r" > ([\d.]+)$", expression)[1])
    assert ALERTS == of_counts
    assert ALERTS["NotificationsLate"] in BUCKETS  # else Prometheus interpolates it


def test_the_guide_explains_each_alert():
    """
    The guide's table has exactly the rules.
    """
    guide = (ROOT / "apps/pillarbox/docs/howto/deploy.md").read_text()
    section = guide.partition("## What to alert on")[2].partition("\n## ")[0]
    assert [*RULES] == re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
