"""What the deployment page says is so: its proxies, as it has them, in front of the real processes."""

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from rest_framework.authtoken.models import Token
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from apps.outbox.history import head
from apps.realtime.hashids import encode
from tests.ports import answers, free_port
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until

PAGE = (settings.BASE_DIR / "config" / "DEPLOYMENT.md").read_text()

# Around what stands on the page: everything in one folder, in the foreground.
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
{page}
}}
"""
CADDY = """
{{
	admin off
	auto_https disable_redirects
	storage file_system {folder}
}}
{page}
"""
COMMANDS = {
    "nginx": ["nginx", "-e", "{folder}/error.log", "-c", "{file}"],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", "{file}"],
}


def found(program):
    """Return where a program is, also where only root looks."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def on_the_page(language):
    """Return the page's example in a language."""
    (example,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return example


@pytest.fixture
def site(tmp_path):
    """A deployment's web and Daphne: they believe a proxy, and nobody without TLS."""
    with Site(tmp_path) as site:
        site.environment |= {"DEBUG": "off", "SECRET_KEY": "x1" * 30, "ALLOWED_HOSTS": "localhost"}
        site.start("web", "daphne")
        yield site


@pytest.fixture
def certificate(tmp_path):
    """A certificate for this machine, and its key."""
    paths = tmp_path / "shop.example.crt", tmp_path / "shop.example.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", paths[1]]
    command = ["openssl", "req", "-x509", "-nodes", *key, *subject, "-out", paths[0]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def configuration(program, folder, port, site, certificate):
    """Return the page's example, at this machine's addresses."""
    page = (
        on_the_page(program)
        .replace(":8000", f":{site.port}")
        .replace(":8001", f":{site.daphne_port}")
    )
    if program == "nginx":
        page = page.replace("listen 443", f"listen 127.0.0.1:{port}").replace(
            "/etc/ssl", str(folder)
        )
        return NGINX.format(folder=folder, page=page.replace("shop.example;", "localhost;"))
    tls = f"https://localhost:{port} {{\n\ttls {certificate[0]} {certificate[1]}"
    return CADDY.format(folder=folder, page=page.replace("shop.example {", tls))


@pytest.fixture(
    params=[
        # CI installs them, and must not go without.
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not found(name) and not os.environ.get("CI"),
                reason=f"needs Debian's package {name}",
            ),
        )
        for name in COMMANDS
    ]
)
def proxy(request, tmp_path, site, certificate):
    """A proxy that is configured as the page says; its port."""
    port, file = free_port(), tmp_path / "configuration"
    file.write_text(configuration(request.param, tmp_path, port, site, certificate))
    words = [word.format(folder=tmp_path, file=file) for word in COMMANDS[request.param]]
    command = [found(words[0]), *words[1:]]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with (tmp_path / "proxy.log").open("wb") as log:
        if request.param == "nginx":
            subprocess.run([*command, "-t"], check=True, stdout=log, stderr=log)
        # nginx is known by the folder it works in, should it be left.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    wait_until(
        lambda: answers(port), f"{request.param} answers; {(tmp_path / 'proxy.log').read_text()}"
    )
    yield port
    process.terminate()
    process.wait(PATIENCE)


@pytest.fixture
def trust(certificate):
    """What a client knows of the proxy."""
    return ssl.create_default_context(cafile=certificate[0])


def socket_to(port, trust, user, origin="https://localhost"):
    """Return a socket to Daphne, through the proxy."""
    token = Token.objects.get_or_create(user=user)[0].key
    return connect(
        f"wss://localhost:{port}/ws/notifications/",
        ssl=trust,
        origin=origin,
        additional_headers={"Authorization": f"Token {token}"},
        proxy=None,
    )


@pytest.mark.django_db(transaction=True)
class TestProxy:
    def test_requests_reach_the_web(self, proxy, trust, demo, ticket):
        """
        A request by TLS is answered, not redirected to TLS for ever; also whatever it says of itself.
        """
        token = Token.objects.create(user=demo).key
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        headers = {"Authorization": f"Token {token}", "X-Forwarded-Proto": "http"}
        client.request("GET", "/api/tickets/", headers=headers)
        answer = client.getresponse()
        assert (200, 1) == (answer.status, json.load(answer)["count"])
        client.close()

    @pytest.mark.usefixtures("published")
    def test_sockets_reach_daphne_and_hear_of_its_restart(self, proxy, site, trust, demo, ticket):
        """
        A socket subscribes and is told of a change; a restart's code and window arrive at the client.
        """
        with socket_to(proxy, trust, demo) as client:
            assert "hello" == json.loads(client.recv(PATIENCE))["type"]
            client.send(json.dumps({"object_type": "ticket", "id": encode("ticket", ticket.pk)}))
            assert "subscribed" == json.loads(client.recv(PATIENCE))["type"]
            ticket.title = "Through a proxy"
            ticket.save()
            assert "UPDATE_TICKET" == json.loads(client.recv(PATIENCE))["type"]
            site.stop("daphne")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(PATIENCE)
        assert 1012 == closed.value.rcvd.code
        assert {"min_ms": 500, "max_ms": 20000} == json.loads(closed.value.rcvd.reason)["reconnect"]

    def test_origins_are_checked(self, proxy, trust, demo):
        """
        A page of another site gets no socket through the proxy either.
        """
        evil = socket_to(proxy, trust, demo, origin="https://evil.example")
        with evil as client, pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert 4403 == closed.value.rcvd.code


@pytest.mark.django_db
class TestRestore:
    def epoch(self):
        return head("ticket:1", using=DEFAULT_DB_ALIAS).epoch

    def test_a_table_that_is_made_anew_has_other_epochs(self):
        """
        What a restore makes in the same cluster is another table: positions of before mean nothing there.
        """
        before = self.epoch()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE outbox_stream RENAME TO lost")
            cursor.execute("CREATE TABLE outbox_stream (LIKE lost INCLUDING ALL)")
            cursor.execute("INSERT INTO outbox_stream SELECT * FROM lost")
        assert before != self.epoch()

    def test_contents_alone_have_the_same(self):
        """
        Where only the rows are put back nobody can tell: that is what new-epoch is for.
        """
        before = self.epoch()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMP TABLE saved ON COMMIT DROP AS SELECT * FROM outbox_stream")
            cursor.execute("TRUNCATE outbox_stream")
            cursor.execute("INSERT INTO outbox_stream SELECT * FROM saved")
        assert before == self.epoch()


def test_alerts_are_on_metrics_that_there_are():
    """
    Each metric that the page names is one that some process exposes.
    """
    sources = [
        path.read_text()
        for room in ("apps", "config", "workers")
        for path in (settings.BASE_DIR / room).rglob("*.py")
    ]
    exposed = {name for source in sources for name in re.findall(r'"(notifier_\w+)"', source)}
    named = set(re.findall(r"`(notifier_\w+)`", PAGE))
    assert named
    assert set() == named - exposed


def test_links_lead_somewhere():
    """
    Each file that the page names is there.
    """
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    paths = re.findall(r"`((?:apps|tests|config|workers)/[\w/.]+)`", PAGE)
    assert links
    assert paths
    for link in links:
        assert (settings.BASE_DIR / "config" / link).exists(), link
    for path in paths:
        assert (settings.BASE_DIR / path).exists(), path


def test_figures_are_measured():
    """
    The page's figures are those of the rooms' tables.
    """
    tables = "".join(
        Path(settings.BASE_DIR / room / "README.md").read_text()
        for room in ("workers", "apps/realtime")
    )
    for figure in ("14487", "25026", "83281", "39.5", "6.7"):
        assert re.search(rf"\b{re.escape(figure)}\b", tables), figure
        thin = figure if "." in figure else f"{figure[:-3]} {figure[-3:]}"
        assert thin in PAGE.replace("\N{NO-BREAK SPACE}", " "), thin
