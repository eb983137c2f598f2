"""The client for browsers and Node, as `node --test` judges it."""

import re

import pytest
from django.conf import settings
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from tests.browser.programs import require_package, run_node

README = settings.BASE_DIR / "apps/realtime/README.md"
CLIENT = settings.BASE_DIR / "apps/realtime/static/realtime/notifications.js"
#: Of the types: the words of states and of a snapshot's reasons.
PARTS = r"type State =(.*?);|  reason: (.*?);"
IMPORTED = "/static/realtime/notifications.js"
#: What a browser has that Node hasn't: it says which address a socket is asked for.
PAGE = """
globalThis.location = { href: "http://localhost:8000/" };
const addresses = [];
globalThis.WebSocket = class { constructor(url) { addresses.push(url); } };
const asked = () => console.log(addresses.join());
"""
COVERAGE = ("--experimental-test-coverage", "--test-coverage-include=../../apps/**")


def test_against_a_scripted_server():
    """
    Whatever a server says: `client.test.mjs` covers each line and branch of the client.
    """
    thresholds = [f"--test-coverage-{kind}=100" for kind in ("lines", "functions", "branches")]
    report = run_node("--test", *COVERAGE, *thresholds, "client.test.mjs")
    # Of no file at all everything is covered, too.
    assert CLIENT.name in report


def test_it_is_small():
    """
    Minified it has less than 8 kB.
    """
    minifier = require_package("terser") / "bin/terser"
    assert 8000 > len(run_node(minifier, "--module", "-c", "passes=2", "-m", "--", CLIENT).encode())


def test_types_hold():
    """
    The client and the page are what their types say; `types.ts` uses and misuses them.
    """
    run_node(require_package("typescript") / "bin/tsc", "-p", ".")


def test_what_it_can_is_documented():
    """
    Each option, callback, state and reason of the types stands in the room's README.
    """
    types = CLIENT.with_suffix(".d.ts").read_text()
    states, reasons = (
        re.findall(r'"([\w-]+)"', "".join(found)) for found in re.findall(PARTS, types, re.DOTALL)
    )
    members = re.findall(r"^  (?:readonly )?(\w+)[?(<:]", types, re.MULTILINE)
    text = README.read_text().partition("## The browser's client")[2].partition("\n## ")[0]
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
    ("readme", "port"), [("README.md", 8001), ("apps/realtime/README.md", 8000)]
)
def test_the_examples_run(tmp_path, readme, port):
    """
    What the READMEs show of the client is what it can.
    """
    (code,) = re.findall(r"```js\n(.*?)```", (settings.BASE_DIR / readme).read_text(), re.DOTALL)
    assert IMPORTED in code
    example = tmp_path / "example.mjs"
    example.write_text(PAGE + code.replace(IMPORTED, CLIENT.as_uri()) + "asked(); process.exit();")
    assert f"ws://localhost:{port}/ws/notifications/\n" == run_node(example)


@pytest.mark.django_db(transaction=True)
def test_against_the_real_server(site, demo, project):
    """
    What the real server says: `server.test.mjs`.
    """
    run_node(
        "--test",
        "server.test.mjs",
        API=f"http://127.0.0.1:{site.port}",
        SOCKETS=f"ws://127.0.0.1:{site.daphne_port}/ws/notifications/",
        TOKEN=Token.objects.create(user=demo).key,
        PROJECT=hashids.encode("project", project.pk),
    )
