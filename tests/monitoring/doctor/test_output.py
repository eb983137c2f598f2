"""Tests of the examination, whatever its checks do, and of its output."""

import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style

from pillarbox.monitoring.doctor.checklist import checklist
from pillarbox.monitoring.doctor.examination import examine
from pillarbox.monitoring.doctor.findings import Check, Finding, Result, Severity
from pillarbox.monitoring.doctor.output import Table, as_json, overall
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


class TestExamination:
    def test_one_cause_is_one_finding(self):
        """
        A check is skipped if one that it needs failed or was skipped; warnings skip nothing.
        """
        grave = Finding(what="a", why="b", cure="c", is_grave=True)
        light = Finding(what="a", why="b", cure="c")
        results = examine(
            [
                Check("one", lambda: [grave]),
                Check("two", lambda: "fine", {"one"}),
                Check("three", lambda: "fine", {"two"}),
                Check("four", lambda: [light]),
                Check("five", lambda: "fine", {"four"}),
            ]
        )
        assert [
            ("one", Severity.FAIL, ""),
            ("two", Severity.SKIPPED, "needs one"),
            ("three", Severity.SKIPPED, "needs two"),
            ("four", Severity.WARN, ""),
            ("five", Severity.OK, "fine"),
        ] == [(each.check, each.severity, each.summary) for each in results]

    def test_a_check_that_raises_or_hangs_stops_no_other(self):
        """
        A check that raises or hangs gives a finding, and the next check runs.
        """
        release = threading.Event()

        def doze():
            release.wait(PATIENCE)
            return "awake again"

        results = list(
            examine(
                [
                    Check("raises", lambda: 1 // 0),
                    Check("hangs", doze, seconds=0.1),
                    Check("fine", lambda: "fine"),
                ]
            )
        )
        release.set()
        raises, hangs, fine = results
        assert "ZeroDivisionError: integer division" in raises.findings[0].what
        assert "did not answer within 0.1 seconds" in hangs.findings[0].what
        assert [Severity.WARN, Severity.FAIL, Severity.OK] == [
            r.severity for r in (raises, hangs, fine)
        ]

    def test_checks_need_earlier_ones(self):
        """
        A check needs only earlier checks.
        """
        seen = set()
        for check in checklist():
            assert set(check.needs) <= seen, check.name
            seen.add(check.name)
        assert "database" in seen

    @pytest.mark.parametrize(
        ("needs", "broker"),
        [
            (set(), "amqp://broker.example"),
            ({"redis"}, "redis://redis.example"),
            ({"redis"}, "sentinel://one.example:26379"),
        ],
    )
    def test_another_broker_does_not_need_redis(self, needs, broker):
        """
        The check of RabbitMQ runs although Redis is away.
        """
        (found,) = (check.needs for check in checklist(broker) if check.name == "broker")
        assert needs == set(found)


class Terminal(StringIO):
    def isatty(self):
        return True


WELL = Result(check="redis", severity=Severity.OK, summary="Redis 8")
SKIPPED = Result(check="layer", severity=Severity.SKIPPED, summary="needs redis")
BAD = Result(
    check="database",
    severity=Severity.FAIL,
    findings=[
        Finding(what="It is not there. " * 8, why="It must be.", cure="Start it.", is_grave=True),
        Finding(what="Slow.", why="It shouldn't be.", cure="Look."),
    ],
)


class TestReport:
    def shown(self, stream, *results):
        table = Table(OutputWrapper(stream), color_style(force_color=True))
        for result in results:
            table.add(result)
        table.end(list(results), 1.25)
        return stream.getvalue()

    def test_a_table(self):
        """
        Each check has a line; findings are wrapped, with why and what to do; the overall severity comes last.
        """
        lines = self.shown(StringIO(), WELL, BAD, SKIPPED).splitlines()
        assert "ok    redis           Redis 8" == lines[0]
        assert lines[1].startswith("FAIL  database        It is not there.")
        assert f"{' ' * 22}why: It must be." in lines
        assert f"{' ' * 22}do: Look." in lines
        assert "-     layer           needs redis" == lines[-3]
        assert "FAIL: database. 1 skipped. (3 checks, 1.2 s)" == lines[-1]
        assert max(map(len, lines)) <= 110

    def test_colours(self):
        """
        Colours are used on terminals only.
        """
        assert "\x1b" in self.shown(Terminal(), WELL, BAD)
        assert "\x1b" not in self.shown(StringIO(), WELL, BAD)

    @pytest.mark.parametrize(
        ("expected", "results"),
        [
            ((Severity.OK, "All is well."), [WELL]),
            (
                (Severity.WARN, "It works; warnings: a."),
                [Result(check="a", severity=Severity.WARN, findings=BAD.findings[1:])],
            ),
            (
                (Severity.FAIL, "FAIL: database, b. Warnings: a. 1 skipped."),
                [
                    BAD,
                    SKIPPED,
                    Result(check="a", severity=Severity.WARN, findings=BAD.findings[1:]),
                    Result(check="b", severity=Severity.FAIL, findings=BAD.findings[:1]),
                ],
            ),
        ],
    )
    def test_the_overall_severity(self, expected, results):
        """
        The overall severity is the worst one.
        """
        assert expected == overall(results)

    def test_passwords_are_removed(self, settings):
        """
        Passwords in the settings are removed from every finding.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"REDIS_URL": "redis://:hid%2Fden@redis.example"}
        finding = Finding(what="hid%2Fden and hid/den", why="b", cure="c")
        result = Result(check="a", severity=Severity.WARN, findings=[finding])
        shown = self.shown(StringIO(), result) + as_json([result], 1)
        assert 2 == shown.count("*** and ***")

    @pytest.mark.parametrize("password", ["severity", "a", '"', ","])
    def test_passwords_are_removed_from_sentences_only(self, settings, password):
        """
        Passwords are removed from sentences only, so the JSON's keys and syntax stay intact.
        """
        settings.DATABASES["default"]["PASSWORD"], before = (
            password,
            settings.DATABASES["default"].get("PASSWORD"),
        )
        finding = Finding(what=f"It is {password}!", why="?", cure="?")
        try:
            shown = as_json([Result(check="a", severity=Severity.WARN, findings=[finding])], 1)
        finally:
            settings.DATABASES["default"]["PASSWORD"] = before
        (check,) = json.loads(shown)["checks"]
        assert ("a", "warn") == (check["check"], check["severity"])
        assert "It is ***!" == check["findings"][0]["what"]


class TestCommand:
    def test_some_checks(self):
        """
        `--only` runs the named checks, `--json` prints JSON, and a sound system exits with 0.
        """
        out = StringIO()
        call_command("pillarbox", "doctor", "--json", "--only", "redis", "layer", stdout=out)
        shown = json.loads(out.getvalue())
        assert ("ok", "All is well.") == (shown["severity"], shown["summary"])
        assert ["redis", "layer"] == [check["check"] for check in shown["checks"]]

    def test_findings(self):
        """
        The exit code is 1 if there are findings.
        """
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("pillarbox", "doctor", "--only", "beat", stdout=out)
        assert 1 == ended.value.code
        assert "FAIL  beat            No beat runs." in out.getvalue()

    def test_an_unknown_check(self):
        """
        An unknown check is refused, and the known ones are listed.
        """
        with pytest.raises(CommandError, match=r"'brain'.*'redis'"):
            call_command("pillarbox", "doctor", "--only", "brain")
