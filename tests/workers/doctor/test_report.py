"""An examination ends, whatever its checks do; and how findings look."""

import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper
from django.core.management.color import color_style

from tests.waiting import PATIENCE
from workers.doctor.checklist import checklist
from workers.doctor.examination import examine
from workers.doctor.findings import Check, Finding, Result, Verdict
from workers.doctor.report import Table, as_json, verdict_of

pytestmark = pytest.mark.django_db(transaction=True)


class TestExamination:
    def test_one_cause_is_one_finding(self):
        """
        What needs something that fails is left out, and what needs that; a warning is no obstacle.
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
            ("one", Verdict.FAIL, ""),
            ("two", Verdict.SKIPPED, "needs one"),
            ("three", Verdict.SKIPPED, "needs two"),
            ("four", Verdict.WARN, ""),
            ("five", Verdict.OK, "fine"),
        ] == [(each.check, each.verdict, each.seen) for each in results]

    def test_a_check_that_raises_or_hangs_stops_no_other(self):
        """
        It is a finding itself.
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
        assert [Verdict.WARN, Verdict.FAIL, Verdict.OK] == [
            r.verdict for r in (raises, hangs, fine)
        ]

    def test_needs_are_checks_that_come_before(self):
        """
        A check can only need one that was made.
        """
        seen = set()
        for check in checklist():
            assert set(check.needs) <= seen, check.name
            seen.add(check.name)
        assert "database" in seen

    def test_another_broker_does_not_need_redis(self, settings):
        """
        With RabbitMQ the broker is asked though Redis is away.
        """
        settings.CELERY_BROKER_URL = "amqp://broker.example"
        assert [()] == [check.needs for check in checklist() if check.name == "broker"]


class Terminal(StringIO):
    def isatty(self):
        return True


WELL = Result(check="redis", verdict=Verdict.OK, seen="Redis 8")
LEFT_OUT = Result(check="layer", verdict=Verdict.SKIPPED, seen="needs redis")
BAD = Result(
    check="database",
    verdict=Verdict.FAIL,
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
        A line for each check; findings wrap, and say why and what to do; the verdict comes last.
        """
        lines = self.shown(StringIO(), WELL, BAD, LEFT_OUT).splitlines()
        assert "ok    redis           Redis 8" == lines[0]
        assert lines[1].startswith("FAIL  database        It is not there.")
        assert f"{' ' * 22}why: It must be." in lines
        assert f"{' ' * 22}do: Look." in lines
        assert "-     layer           needs redis" == lines[-3]
        assert "FAIL: database. 1 not looked at. (3 checks, 1.2 s)" == lines[-1]
        assert max(map(len, lines)) <= 110

    def test_colours(self):
        """
        Colours are for terminals.
        """
        assert "\x1b" in self.shown(Terminal(), WELL, BAD)
        assert "\x1b" not in self.shown(StringIO(), WELL, BAD)

    @pytest.mark.parametrize(
        ("expected", "results"),
        [
            ((Verdict.OK, "All is well."), [WELL]),
            (
                (Verdict.WARN, "It works; warnings: a."),
                [Result(check="a", verdict=Verdict.WARN, findings=BAD.findings[1:])],
            ),
            (
                (Verdict.FAIL, "FAIL: database, b. Warnings: a. 1 not looked at."),
                [
                    BAD,
                    LEFT_OUT,
                    Result(check="a", verdict=Verdict.WARN, findings=BAD.findings[1:]),
                    Result(check="b", verdict=Verdict.FAIL, findings=BAD.findings[:1]),
                ],
            ),
        ],
    )
    def test_the_verdict(self, expected, results):
        """
        The worst decides.
        """
        assert expected == verdict_of(results)

    def test_no_password_is_shown(self, settings):
        """
        Whatever an error says, the passwords of the settings' addresses are left out.
        """
        settings.REDIS_URL = "redis://:hid%2Fden@redis.example"
        finding = Finding(what="hid%2Fden and hid/den", why="b", cure="c")
        result = Result(check="a", verdict=Verdict.WARN, findings=[finding])
        shown = self.shown(StringIO(), result) + as_json([result], 1)
        assert 2 == shown.count("*** and ***")

    @pytest.mark.parametrize("password", ["verdict", "a", '"', ","])
    def test_a_password_is_left_out_of_sentences_alone(self, settings, password):
        """
        JSON stays JSON, and its keys stay what they are, whatever the password is.
        """
        settings.DATABASES["default"]["PASSWORD"], before = (
            password,
            settings.DATABASES["default"].get("PASSWORD"),
        )
        finding = Finding(what=f"It is {password}!", why="?", cure="?")
        try:
            shown = as_json([Result(check="a", verdict=Verdict.WARN, findings=[finding])], 1)
        finally:
            settings.DATABASES["default"]["PASSWORD"] = before
        (check,) = json.loads(shown)["checks"]
        assert ("a", "warn") == (check["check"], check["verdict"])
        assert "It is ***!" == check["findings"][0]["what"]


class TestCommand:
    def test_some_checks(self):
        """
        Some may be made alone, as JSON, and the exit code says whether something was found.
        """
        out = StringIO()
        call_command("outbox", "doctor", "--json", "--only", "redis", "layer", stdout=out)
        shown = json.loads(out.getvalue())
        assert ("ok", "All is well.") == (shown["verdict"], shown["summary"])
        assert ["redis", "layer"] == [check["check"] for check in shown["checks"]]

    def test_findings(self):
        """
        With findings it exits with 1.
        """
        out = StringIO()
        with pytest.raises(SystemExit) as ended:
            call_command("outbox", "doctor", "--only", "beat", stdout=out)
        assert 1 == ended.value.code
        assert "FAIL  beat            No beat is alive." in out.getvalue()

    def test_an_unknown_check(self):
        """
        What there is no check of is refused, and the checks are named.
        """
        with pytest.raises(CommandError, match=r"'brain'.*'redis'"):
            call_command("outbox", "doctor", "--only", "brain")
