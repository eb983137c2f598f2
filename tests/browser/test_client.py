"""Tests of the client for browsers and Node, by `node --test`."""

import re

import pytest
from django.conf import settings
from rest_framework.authtoken.models import Token

from pillarbox.types import hashids
from tests.browser.programs import require_package, run_node

DOCUMENTATION = settings.BASE_DIR / "apps/pillarbox/docs/reference/browser-client.md"
CLIENT = settings.BASE_DIR / "apps/pillarbox/static/pillarbox/notifications.js"
#: The parts of the types that list states, and reasons of snapshots.
PARTS = r"type State =(.*?);|  reason: (.*?);"
IMPORTED = "/static/pillarbox/notifications.js"
#: The parts of a browser that Node lacks, which record the addresses of sockets.
PAGE = """
globalThis.location = { href: "http://localhost:8000/" };
const addresses = [];
globalThis.WebSocket = class { constructor(url) { addresses.push(url); } };
const printAddresses = () => console.log(addresses.join());
"""
COVERAGE = ("--experimental-test-coverage", "--test-coverage-include=../../apps/**")


def test_against_a_scripted_server():
    """
    `client.test.mjs` covers each line and branch of the client.
    """
    thresholds = [f"--test-coverage-{kind}=100" for kind in ("lines", "functions", "branches")]
    report = run_node("--test", *COVERAGE, *thresholds, "client.test.mjs")
    # The thresholds hold for a report without any file, too.
    assert CLIENT.name in report


def test_it_is_small():
    """
    Minified, the client has less than 8 KiB.
    """
    minifier = require_package("terser") / "bin/terser"
    assert 8192 > len(run_node(minifier, "--module", "-c", "passes=2", "-m", "--", CLIENT).encode())


def test_types_hold():
    """
    The client and the page match their types; `types.ts` has correct and incorrect uses.
    """
    run_node(require_package("typescript") / "bin/tsc", "-p", ".")


def test_all_options_are_documented():
    """
    Each option, callback, state and reason of the types is on the client's page.
    """
    types = CLIENT.with_suffix(".d.ts").read_text()
    states, reasons = (
        re.findall(r'"([\w-]+)"', "".join(found)) for found in re.findall(PARTS, types, re.DOTALL)
    )
    members = re.findall(r"^  (?:readonly )?(\w+)[?(<:]", types, re.MULTILINE)
    text = DOCUMENTATION.read_text()
    ours = {*states, *reasons, *members} - {
        "type",
        "object_type",
        "id",
        "event_id",
        "at",
        "subscription",
        "callbacks",
    }
    assert ours > {"live", "pruned", "storage", "refresh"}
    assert [] == [word for word in ours if not re.search(rf"[`\s({{,]{word}\b", text)]


@pytest.mark.parametrize(
    ("page", "port"), [(settings.BASE_DIR / "README.md", 8001), (DOCUMENTATION, 8000)]
)
def test_the_examples_run(tmp_path, page, port):
    """
    The client's examples in the README and on its page run.
    """
    (code,) = re.findall(r"```js\n(.*?)```", page.read_text(), re.DOTALL)
    assert IMPORTED in code
    example = tmp_path / "example.mjs"
    example.write_text(
        PAGE + code.replace(IMPORTED, CLIENT.as_uri()) + "printAddresses(); process.exit();"
    )
    assert f"ws://localhost:{port}/ws/notifications/\n" == run_node(example)


@pytest.mark.django_db(transaction=True)
def test_against_the_real_server(site, demo, project):
    """
    `server.test.mjs` passes against the real server.
    """
    run_node(
        "--test",
        "server.test.mjs",
        API=f"http://127.0.0.1:{site.port}",
        SOCKETS=f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/",
        TOKEN=Token.objects.create(user=demo).key,
        PROJECT=hashids.encode("project", project.pk),
    )
