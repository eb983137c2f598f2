"""Tests of the documentation: what it documents exists, what exists is documented, links lead somewhere."""

import ast
import re
import textwrap
from argparse import ArgumentParser
from collections import Counter
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DEFAULT_DB_ALIAS, connection
from prometheus_client import REGISTRY

from pillarbox.capture.triggers.installation import install
from pillarbox.close_codes import CloseCode
from pillarbox.conf import PillarboxSettings
from pillarbox.management.command_line import NAMES, ExitCode, subcommands
from pillarbox.models import NotificationOutbox
from pillarbox.monitoring.doctor.checklist import checklist
from pillarbox.monitoring.probes.exposition import GAUGES, PROBLEMS, STATUS
from pillarbox.sockets.commands.serializers import COMMANDS
from pillarbox.sockets.housekeeping.recurring import count_sockets
from pillarbox.types import registry
from tests.metrics import names
from tests.rig.command.options import options
from tests.rig.reports.report import COLUMNS
from tests.rig.scenarios import OURS, PLAIN, SCENARIOS
from workers.app import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PRODUCT = ROOT / "apps/pillarbox"
DOCUMENTATION = PRODUCT / "docs"
#: Every Markdown file of the repository.
PAGES = sorted(
    path
    for folder in ("", "apps", "config", "tests", "workers")
    for path in (ROOT / folder).glob("**/*.md" if folder else "*.md")
    if "node_modules" not in path.parts
)
#: The metrics that are known while the database answers.
DATABASE = (STATUS, PROBLEMS, *GAUGES)
#: A module that is named without its folder.
MODULE = re.compile(r"`(\w+\.py)`")


def readme(name):
    return (ROOT / name / "README.md").read_text()


def page(name):
    """Return a page of the product's documentation."""
    return (DOCUMENTATION / f"{name}.md").read_text()


def section(text, title):
    """Return a section of a page, up to the next heading of the same level."""
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_setting_is_documented():
    """
    Each key and its default are in the table.
    """
    text = page("reference/settings")
    for field in fields(PillarboxSettings):
        (line,) = [line for line in text.splitlines() if re.match(rf"\|[^|]*`{field.name}`", line)]
        if isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert re.search(rf"\b{field.default:.10g}\b", line), line


def test_every_variable_is_documented():
    """
    Each variable that the settings or the Procfile read is in the table of the environment.
    """
    settings = (ROOT / "config/settings.py").read_text()
    read = set(re.findall(r'env\.\w+\("(\w+)"', settings))
    read |= set(re.findall(r"\$\{(\w+)", (ROOT / "Procfile").read_text()))
    table = section((ROOT / "config/DEPLOYMENT.md").read_text(), "Environment")
    assert set() == {name for name in read if f"`{name}`" not in table}


def test_the_results_of_the_rig_are_of_its_command():
    """
    The rig accepts the documented command, and the table has exactly its runs and columns.
    """
    _, _, text = readme("tests/rig").partition("## Results")
    command, _, text = text.partition("`python -m tests.rig ")[2].partition("`")
    chosen = options(command.split())
    header, *rows = re.findall(
        r"^\| (.+?) *\|$", text.partition("Our pattern's recoveries,")[0], re.MULTILINE
    )
    assert list(COLUMNS) == header.split(" | ")
    runs = {tuple(row.split(" | ")[:2]) for row in rows}
    assert {(scenario.name, pattern) for scenario, pattern in chosen.runs} == runs
    assert {(name, pattern) for name in SCENARIOS for pattern in (OURS, PLAIN)} == runs


def test_every_code_is_documented():
    """
    Each close code, error code and command is in the documented protocol.
    """
    text = page("reference/protocol")
    source = "".join(path.read_text() for path in PRODUCT.rglob("*.py"))
    errors = set(re.findall(r'ClientCommandError\(\s*"(\w+)"', source))
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
    Each control frame's type is in the documented protocol.
    """
    source = (PRODUCT / "sockets/frames.py").read_text()
    kinds = re.findall(r'"type": "(\w+)"', source)
    assert "subscribed" in kinds
    for kind in kinds:
        assert f'"type": "{kind}"' in page("reference/protocol"), kind


@pytest.mark.django_db  # Celery runs the system checks, which query the database on Django 6.1
def test_every_task_and_file_is_documented():
    """
    Each task is documented, and each module of a package whose README has a table of files.
    """
    app.loader.import_default_modules()
    tasks = [name for name in app.tasks if name.startswith("pillarbox.")]
    assert "pillarbox.drain" in tasks
    for name in tasks:
        assert f"`{name}`" in page("explanation/architecture")
    for name in ("config", "apps/tickets", "tests/rig"):
        ignored = {"__init__.py", "__main__.py", "apps.py", "admin.py"}
        paths = list((ROOT / name).glob("*.py"))
        assert len(paths) > len(ignored)
        for path in paths:
            assert path.name in ignored or f"`{path.name}`" in readme(name), path


def test_every_metric_is_documented():
    """
    The table has exactly our metrics and their types. Each metric has a help text.
    """
    rows = re.findall(r"^\| (`notifier_.*?) \| (\w+) \|", page("reference/metrics"), re.MULTILINE)
    table = {name: kind for names_, kind in rows for name in re.findall(r"`(\w+)`", names_)}
    known = {metric.name: metric for metric in REGISTRY.collect() if "notifier" in metric.name}
    assert table == names() | dict.fromkeys(DATABASE, "gauge")
    assert all(metric.documentation for metric in known.values())
    assert (0, 0) == count_sockets()  # sockets are counted in Daphne, not here


def test_alerts_are_about_metrics():
    """
    The rules use only existing metrics, and each rule has a summary.
    """
    text = (ROOT / "config/alerts.yml").read_text()
    used = {re.sub("_bucket$", "", name) for name in re.findall(r"notifier_\w+", text)}
    assert set() == used - (names() | dict.fromkeys(DATABASE)).keys()
    assert text.count("alert:") == text.count("expr:") == text.count("summary:")


def test_every_system_check_is_documented():
    """
    The page documents exactly the checks that there are.
    """
    source = "".join(path.read_text() for path in (PRODUCT / "checks").glob("*.py"))
    lines = [
        line for line in page("reference/checks").splitlines() if line.startswith("| `pillarbox.")
    ]
    documented = [word for line in lines for word in re.findall(r"`(?:\w+\.)?([EW]\d{3})`", line)]
    assert sorted(set(re.findall(r'id="pillarbox\.(\w+)"', source))) == sorted(documented)


def test_every_check_of_the_doctor_is_documented():
    """
    The doctor's table has exactly its checks.
    """
    table = section(page("reference/commands"), "doctor")
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    documented = {word for line in lines for word in re.findall(r"`([\w-]+)`", line.split("|")[1])}
    assert {check.name for check in checklist()} == documented


def test_every_setting_of_the_project_is_documented():
    """
    Each of Django's and the project's settings that the product reads is on the page.
    """
    source = "".join(path.read_text() for path in PRODUCT.rglob("*.py"))
    read = set(re.findall(r"\bsettings(?:\.|, \")([A-Z][A-Z_]+)\b", source))
    assert read > {"DATABASES", "CHANNEL_LAYERS"}
    read.remove("PILLARBOX")  # whose keys have a table of their own
    table = section(page("reference/settings"), "Settings of the project that are read, too")
    assert set() == {name for name in read if not re.search(rf"`{name}\b", table)}


def test_every_attribute_of_object_types_is_documented():
    """
    Each attribute that a subclass of ObjectType may declare is in the table.
    """
    table = page("reference/object-types")
    declared = {name for name in registry.ObjectType.__annotations__ if not name.startswith("_")}
    assert declared > {"name", "grants"}
    assert set() == {name for name in declared if f"| `{name}` |" not in table}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_documented(name):
    """
    Each subcommand has a section, with all of its options.
    """
    parser = ArgumentParser(add_help=False)
    subcommands()[name].add_arguments(parser)
    text = section(page("reference/commands"), name)
    # The private attribute is the only way to list a parser's options.
    options_ = [option for action in parser._actions for option in action.option_strings]
    assert [] == [option for option in options_ if not re.search(rf"{option}\b", text)]


def test_every_exit_code_is_documented():
    """
    The table of exit codes has exactly the codes of the command.
    """
    table = page("reference/commands").partition("\n## ")[0]
    assert [f"{code.value}" for code in ExitCode] == re.findall(
        r"^\| (\d+) \|", table, re.MULTILINE
    )


def test_the_index_has_every_page():
    """
    The table of contents links to each page of the documentation.
    """
    index = DOCUMENTATION / "index.md"
    linked = {path for path, _ in links_of(index)}
    pages = set(DOCUMENTATION.rglob("*.md"))
    assert len(pages) > 20
    assert {index} == pages - linked


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    """
    Each relative link leads to a file, and its anchor to a heading of it.
    """
    for target, anchor in links_of(path):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target}#{anchor}"


def test_links_and_anchors_are_found(tmp_path):
    """
    Links outside of code count, and headings have the anchors that GitHub gives them.
    """
    path = tmp_path / "page.md"
    path.write_text(
        "# One `two`, three?\n[`a`](b.md#c) `[d](e)` [f](https://g.example)\n"
        "## Four / five\n```md\n# Six\n[h](i)\n```\n## Four / five\n[j](#k)\n"
    )
    assert [(tmp_path / "b.md", "c"), (path, "k")] == links_of(path)
    assert {"one-two-three", "four--five", "four--five-1"} == anchors(path)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_example_imports_what_exists(path):
    """
    The Python examples are valid, and import only existing names of the product.
    """
    for code in re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL):
        for node in ast.walk(ast.parse(textwrap.dedent(code))):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "pillarbox":
                module = import_module(node.module)
                assert [] == [one.name for one in node.names if not hasattr(module, one.name)]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_named_file_exists(path):
    """
    Each path below a folder of the repository or of the package exists.
    """
    folders = [folder for folder in (ROOT, PRODUCT) for folder in folder.iterdir()]
    starts = {folder.name for folder in folders if folder.is_dir() and folder.name[0] != "."}
    for name in re.findall(r"`((?:[\w-]+/)+[\w.*-]*)`", path.read_text()):
        if name.split("/")[0] in starts:
            assert any(any(base.glob(name)) for base in (ROOT, PRODUCT, path.parent)), name


def test_every_named_module_exists():
    """
    Each module that the documentation names without its folder is one of the product.
    """
    modules = {path.name for path in PRODUCT.rglob("*.py")}
    named = {
        name for path in DOCUMENTATION.rglob("*.md") for name in MODULE.findall(path.read_text())
    }
    assert "tasks.py" in named
    assert set() == named - modules


def test_every_documented_command_exists():
    """
    Each `manage.py pillarbox` in the documentation is followed by a subcommand.
    """
    text = "".join(path.read_text() for path in PAGES)
    used = set(re.findall(r"manage\.py pillarbox ([a-z][a-z-]*)", text))
    assert set() == used - {*NAMES}


def without_code(text):
    """Return a page without its code."""
    return re.sub(
        r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    )


def links_of(path):
    """Return the relative links of a page, as paths and anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text()))
    inside = [target.partition("#") for target in targets if "://" not in target]
    return [
        ((path.parent / file).resolve() if file else path, anchor) for file, _, anchor in inside
    ]


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = Counter()
    names_ = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names_.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names_


def test_the_readme_is_short():
    """
    The README is short enough to be read to the end.
    """
    assert len(README.splitlines()) <= 205


@pytest.mark.django_db(transaction=True)
def test_the_example_of_a_live_model_works(relay):
    """
    The documented example of a live model announces its creation, its update and its deletion.
    """
    text = page("howto/make-a-model-live")
    (code,) = re.findall(r"```python\n(from django.conf.*?)```", text, re.DOTALL)
    module = {"__name__": "apps.tickets.readme"}
    try:
        exec(compile(code, "make-a-model-live.md", "exec"), module)
        invoice_model = module["Invoice"]
        with connection.schema_editor() as editor:
            editor.create_model(invoice_model)
        install(using=DEFAULT_DB_ALIAS)  # as `migrate` does
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
    finally:
        registry.unregister("invoice")
        install(using=DEFAULT_DB_ALIAS)
        with connection.schema_editor() as editor:
            editor.delete_model(invoice_model)
        apps.all_models["tickets"].pop("invoice", None)
        apps.clear_cache()
