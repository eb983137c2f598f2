"""What the READMEs say is so."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import connection
from prometheus_client import REGISTRY

from apps.outbox.conf import OutboxSettings
from apps.outbox.models import NotificationOutbox
from apps.realtime import registry
from apps.realtime.close_codes import CloseCode
from apps.realtime.conf import RealtimeSettings
from apps.realtime.rounds import count_sockets
from apps.realtime.serializers import COMMANDS
from tests.metrics import names
from tests.rig.command.options import options
from tests.rig.reports.report import COLUMNS
from tests.rig.scenarios import OURS, PLAIN, SCENARIOS
from workers.app import app
from workers.doctor.checklist import checklist
from workers.exposition import GAUGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def room(name):
    return (ROOT / name / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "settings"), [("apps/outbox", OutboxSettings), ("apps/realtime", RealtimeSettings)]
)
def test_every_setting_is_documented(name, settings):
    """
    Each key and its default stand in the room's table.
    """
    text = room(name).partition("## Settings")[2]
    for field in fields(settings):
        (line,) = [line for line in text.splitlines() if re.match(rf"\|.*`{field.name}`", line)]
        if isinstance(field.default, int | float):
            assert re.search(rf"\b{field.default:.10g}\b", line), line


def test_every_variable_is_documented():
    """
    Each variable that the settings or the Procfile read stands in the table of the environment.
    """
    settings = (ROOT / "config/settings.py").read_text()
    read = set(re.findall(r'env\.\w+\("(\w+)"', settings))
    read |= set(re.findall(r"\$\{(\w+)", (ROOT / "Procfile").read_text()))
    table = README[README.index("## Environment") :]
    assert set() == {name for name in read if f"`{name}`" not in table}


def test_the_results_of_the_rig_are_of_its_command():
    """
    The rig takes the command, and the README's table has just its runs and columns.
    """
    _, _, text = room("tests/rig").partition("## What came of it")
    command, _, text = text.partition("`python -m tests.rig ")[2].partition("`")
    chosen = options(command.split())
    header, *rows = re.findall(r"^\| (.+?) *\|$", text.partition("Of ours,")[0], re.MULTILINE)
    assert list(COLUMNS) == header.split(" | ")
    runs = {tuple(row.split(" | ")[:2]) for row in rows}
    assert {(scenario.name, pattern) for scenario, pattern in chosen.runs} == runs
    assert {(name, pattern) for name in SCENARIOS for pattern in (OURS, PLAIN)} == runs


def test_every_code_is_documented():
    """
    Each close code, error code and command stands in the protocol.
    """
    text = room("apps/realtime")
    source = "".join(path.read_text() for path in (ROOT / "apps/realtime").glob("*.py"))
    errors = set(re.findall(r'CommandError\(\s*"(\w+)"', source))
    known = {
        "malformed",
        "invalid",
        "not_found",
        "limit",
        "rate_limited",
        "unavailable",
        "internal",
    }
    assert known == errors
    for word in [*(f"| {code.value} |" for code in CloseCode), *(f"| `{e}` |" for e in errors)]:
        assert word in text
    for action in set(COMMANDS) - {"subscribe"}:
        assert f'"action": "{action}"' in text


def test_every_frame_is_documented():
    """
    Each control frame's type stands in the protocol.
    """
    source = (ROOT / "apps/realtime/frames.py").read_text()
    kinds = re.findall(r'"type": "(\w+)"', source)
    assert "subscribed" in kinds
    for kind in kinds:
        assert f'"type": "{kind}"' in room("apps/realtime"), kind


@pytest.mark.django_db  # Celery runs the system checks, which ask the database on Django 6.1
def test_every_task_and_file_is_documented():
    """
    Each task of ours, and each module of a room with a table of its files, stands in it.
    """
    app.loader.import_default_modules()
    tasks = [name for name in app.tasks if name.startswith("outbox.")]
    assert "outbox.drain" in tasks
    for name in tasks:
        assert name in room("workers")
    for name in ("workers", "config", "apps/tickets", "tests/rig"):
        ignored = {"__init__.py", "__main__.py", "apps.py", "admin.py"}
        paths = list((ROOT / name).glob("*.py"))
        assert len(paths) > len(ignored)
        for path in paths:
            assert path.name in ignored or f"`{path.name}`" in room(name), path


def test_every_metric_is_documented():
    """
    The table has our metrics, with their types, and no others; each has a help text.
    """
    rows = re.findall(r"^\| (`notifier_.*?) \| (\w+) \|", room("config"), re.MULTILINE)
    table = {name: kind for names_, kind in rows for name in re.findall(r"`(\w+)`", names_)}
    known = {metric.name: metric for metric in REGISTRY.collect() if "notifier" in metric.name}
    assert table == names() | dict.fromkeys(GAUGES, "gauge")
    assert all(metric.documentation for metric in known.values())
    assert (0, 0) == count_sockets()  # which are counted where they are


def test_alerts_are_about_metrics():
    """
    Each name in the rules is a metric's, and each rule says what to do.
    """
    text = (ROOT / "config/alerts.yml").read_text()
    used = {re.sub("_bucket$", "", name) for name in re.findall(r"notifier_\w+", text)}
    assert set() == used - (names() | dict.fromkeys(GAUGES)).keys()
    assert text.count("alert:") == text.count("expr:") == text.count("summary:")


@pytest.mark.parametrize("name", ["apps/outbox", "apps/realtime", "workers"])
def test_every_system_check_is_documented(name):
    """
    Each id of a room's checks stands in its README, and no other.
    """
    app, source = name.rpartition("/")[2], (ROOT / name / "checks.py").read_text()
    table = room(name).partition("## Checks")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith(f"| `{app}.")]
    documented = [word for line in lines for word in re.findall(r"`(?:\w+\.)?([EW]\d{3})`", line)]
    assert sorted(set(re.findall(rf'id="{app}\.(\w+)"', source))) == sorted(documented)


def test_every_check_of_the_doctor_is_documented():
    """
    Each check stands in the table of the doctor's.
    """
    table = room("workers").partition("## The doctor")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    documented = {word for line in lines for word in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    assert {check.name for check in checklist()} == documented


def test_readmes_are_short_enough_to_be_read():
    """
    The README is read to the end.
    """
    assert len(README.splitlines()) <= 205


@pytest.mark.django_db(transaction=True)
def test_the_example_of_a_live_model_works(relay):
    """
    What the README shows as a live model announces its life.
    """
    (code,) = re.findall(r"```python\n(from django.conf.*?)```", README, re.DOTALL)
    module = {"__name__": "apps.tickets.readme"}
    try:
        exec(compile(code, "README.md", "exec"), module)
        invoice_model = module["Invoice"]
        with connection.schema_editor() as editor:
            editor.create_model(invoice_model)
        owner = get_user_model().objects.create_user("owner")
        invoice = invoice_model.objects.create(owner=owner)
        invoice.paid = True
        invoice.save()
        invoice.save()
        invoice.delete()
        assert ["CREATE_INVOICE", "UPDATE_INVOICE", "DELETE_INVOICE"] == list(
            NotificationOutbox.objects.order_by("id").values_list("event", flat=True)
        )
        assert 3 == relay.drain().published
        with connection.schema_editor() as editor:
            editor.delete_model(invoice_model)
    finally:
        registry.unregister("invoice")
        apps.all_models["tickets"].pop("invoice", None)
        apps.clear_cache()
