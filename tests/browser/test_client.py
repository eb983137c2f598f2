"""The client for browsers and Node, as `node --test` judges it."""

import pytest
from django.conf import settings
from rest_framework.authtoken.models import Token

from apps.realtime import hashids
from tests.browser.programs import require_package, run_node

CLIENT = settings.BASE_DIR / "apps/realtime/static/realtime/notifications.js"
COVERAGE = ("--experimental-test-coverage", "--test-coverage-include=apps/**")


def test_against_a_scripted_server():
    """
    Whatever a server says: `client.test.mjs` covers each line and branch of the client.
    """
    thresholds = [f"--test-coverage-{kind}=100" for kind in ("lines", "functions", "branches")]
    run_node("--test", *COVERAGE, *thresholds, "client.test.mjs")


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
