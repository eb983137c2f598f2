"""Tests of the deployment page: its proxies, in front of real processes, and its figures and links."""

import http.client
import json
import os
import re
import shutil
import ssl
import subprocess
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection
from rest_framework.authtoken.models import Token
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from pillarbox.stream.history import head
from pillarbox.types.hashids import encode
from tests.ports import answers, free_port
from tests.processes import Site
from tests.waiting import PATIENCE, wait_until

DOCUMENTATION = settings.BASE_DIR / "apps/pillarbox/docs"
PAGE = (DOCUMENTATION / "howto/deploy.md").read_text()

# The frame of the page's examples: all files in one folder, in the foreground.
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
    """Return the path of a program, also in folders that only root's PATH has."""
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")


def on_the_page(language):
    """Return the page's example in a language."""
    (example,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return example


@pytest.fixture
def site(tmp_path):
    """A deployment's web and Daphne, which trust a proxy and require TLS."""
    with Site(tmp_path) as site:
        site.environment |= {"DEBUG": "off", "SECRET_KEY": "x1" * 30, "ALLOWED_HOSTS": "localhost"}
        site.start("web", "daphne")
        yield site


@pytest.fixture
def certificate(tmp_path):
    """Create a certificate for this machine; return its path and its key's."""
    paths = tmp_path / "shop.example.crt", tmp_path / "shop.example.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", paths[1]]
    command = ["openssl", "req", "-x509", "-nodes", *key, *subject, "-out", paths[0]]
    subprocess.run(command, check=True, capture_output=True)
    return paths


def configuration(program, folder, port, site, certificate):
    """Return the page's example, with this machine's addresses."""
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
        # CI installs them, and must not skip these tests.
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
    """Run a proxy with the page's configuration; return its port."""
    port, file = free_port(), tmp_path / "configuration"
    file.write_text(configuration(request.param, tmp_path, port, site, certificate))
    words = [word.format(folder=tmp_path, file=file) for word in COMMANDS[request.param]]
    command = [found(words[0]), *words[1:]]
    environment = {**os.environ, "HOME": str(tmp_path)}
    with (tmp_path / "proxy.log").open("wb") as log:
        if request.param == "nginx":
            subprocess.run([*command, "-t"], check=True, stdout=log, stderr=log)
        # The working directory identifies an nginx that is left running.
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=tmp_path)
    wait_until(
        lambda: answers(port), f"{request.param} answers; {(tmp_path / 'proxy.log').read_text()}"
    )
    yield port
    process.terminate()
    process.wait(PATIENCE)


@pytest.fixture
def trust(certificate):
    """A client's SSL context that trusts the proxy's certificate."""
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
        A TLS request is answered, not redirected, whatever its own headers claim.
        """
        token = Token.objects.create(user=demo).key
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        headers = {"Authorization": f"Token {token}", "X-Forwarded-Proto": "http"}
        client.request("GET", "/api/tickets/", headers=headers)
        answer = client.getresponse()
        assert (200, 1) == (answer.status, json.load(answer)["count"])
        client.close()

    def test_a_form_is_accepted_on_any_port(self, proxy, trust):
        """
        Django sees the port of the proxy, and so reads a form that was sent from there.
        """
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        client.request("GET", "/sign-in/")
        answer = client.getresponse()
        token = re.search(r"csrftoken=(\w+)", answer.headers["Set-Cookie"])[1]
        answer.read()
        fields = {"username": "nobody", "password": "a-word", "csrfmiddlewaretoken": token}
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"csrftoken={token}",
            "Origin": f"https://localhost:{proxy}",
        }
        client.request("POST", "/sign-in/", urlencode(fields), headers)
        answer = client.getresponse()
        assert (200, True) == (answer.status, b"correct username and password" in answer.read())
        client.close()

    @pytest.mark.parametrize(
        ("path", "header"),
        [
            ("/ws/healthz", {"Daphne-Root-Path": "/ws"}),
            ("/x/healthz", {"Script-Name": "/x"}),
            ("/x/healthz", {"SCRIPT_NAME": "/x"}),
            ("/x/healthz", {"X-Script-Name": "/x"}),
            ("/x", {"PATH_INFO": "/healthz"}),
        ],
    )
    def test_no_header_chooses_what_is_served(self, proxy, site, trust, path, header):
        """
        No header changes the served path, neither through the proxy nor at the port behind it.
        """
        through = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        port = site.daphne_port if path.startswith("/ws/") else site.port
        behind = http.client.HTTPConnection("localhost", port, timeout=PATIENCE)
        for client in (through, behind):
            client.request("GET", path, headers={"X-Forwarded-Proto": "https", **header})
            assert 404 == client.getresponse().status
            client.close()

    def test_the_proxy_sets_the_request_id(self, proxy, trust):
        """
        A client's own request id is replaced.
        """
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        client.request("GET", "/sign-in/", headers={"X-Request-ID": "of-the-client"})
        answer = client.getresponse()
        assert (200, 32) == (answer.status, len(answer.headers["X-Request-ID"].replace("-", "")))
        assert "of-the-client" != answer.headers["X-Request-ID"]
        client.close()

    def test_no_header_gives_another_address(self, proxy, trust):
        """
        Tries to sign in count for the address that the proxy sees, and not for one that the client names.
        """
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        statuses = []
        for number in range(11):
            said = {"X-Forwarded-For": f"10.0.0.{number}", "Forwarded": f"for=10.0.0.{number}"}
            body = json.dumps({"username": f"nobody {number}"})
            client.request(
                "POST", "/api/token/", body, {"Content-Type": "application/json", **said}
            )
            answer = client.getresponse()
            answer.read()
            statuses.append(answer.status)
        client.close()
        assert [*[400] * 10, 429] == statuses

    @pytest.mark.parametrize(("path", "length"), [("/ws/x", 10_000), ("/sign-in/", 3_000_000)])
    def test_a_large_body_is_refused(self, proxy, trust, path, length):
        """
        A large body is refused by the proxy. Caddy may answer 502, as if the server had failed.
        """
        client = http.client.HTTPSConnection("localhost", proxy, context=trust, timeout=PATIENCE)
        client.request("POST", path, body=b"x" * length)
        assert client.getresponse().status in {413, 502}
        client.close()

    @pytest.mark.usefixtures("published")
    def test_sockets_reach_daphne_and_learn_of_its_restart(self, proxy, site, trust, demo, ticket):
        """
        A socket receives a change; at a restart, the client receives the close code and reconnect window.
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
        A page of another site gets no socket through the proxy.
        """
        evil = socket_to(proxy, trust, demo, origin="https://evil.example")
        with evil as client, pytest.raises(ConnectionClosed) as closed:
            client.recv(PATIENCE)
        assert 4403 == closed.value.rcvd.code


@pytest.mark.django_db
class TestRestore:
    def epoch(self):
        return head("ticket:1", using=DEFAULT_DB_ALIAS).epoch

    def test_a_restored_table_has_new_epochs(self):
        """
        A restored table has new epochs, so positions from before are invalid.
        """
        before = self.epoch()
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE pillarbox_stream RENAME TO lost")
            cursor.execute("CREATE TABLE pillarbox_stream (LIKE lost INCLUDING ALL)")
            cursor.execute("INSERT INTO pillarbox_stream SELECT * FROM lost")
        assert before != self.epoch()

    def test_restored_rows_keep_their_epochs(self):
        """
        Restoring only the rows keeps the epochs, which is why new-epoch exists.
        """
        before = self.epoch()
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMP TABLE saved ON COMMIT DROP AS SELECT * FROM pillarbox_stream"
            )
            cursor.execute("TRUNCATE pillarbox_stream")
            cursor.execute("INSERT INTO pillarbox_stream SELECT * FROM saved")
        assert before == self.epoch()


def test_named_metrics_exist():
    """
    Each metric that the page names is exposed by some process.
    """
    sources = [
        path.read_text()
        for package in ("apps", "config", "workers")
        for path in (settings.BASE_DIR / package).rglob("*.py")
    ]
    exposed = {name for source in sources for name in re.findall(r'"(notifier_\w+)"', source)}
    named = set(re.findall(r"`(notifier_\w+)`", PAGE))
    assert named
    assert set() == named - exposed


def test_named_files_exist():
    """
    Each file that the page names exists.
    """
    links = re.findall(r"\]\(([^)#]+)", PAGE)
    paths = re.findall(r"`((?:apps|tests|config|workers)/[\w/.]+)`", PAGE)
    assert links
    assert paths
    for link in links:
        assert (DOCUMENTATION / "howto" / link).exists(), link
    for path in paths:
        assert (settings.BASE_DIR / path).exists(), path


def test_figures_are_measured():
    """
    The page's figures agree with the tables of the measurements.
    """
    lines = (DOCUMENTATION / "explanation/measurements.md").read_text().splitlines()
    tables = "\n".join(line for line in lines if line.startswith("|"))
    for figure in ("2866", "5219", "83281", "39.5", "6.7"):
        assert re.search(rf"\b{re.escape(figure)}\b", tables), figure
        thin = figure if "." in figure else f"{figure[:-3]} {figure[-3:]}"
        assert thin in PAGE.replace("\N{NO-BREAK SPACE}", " "), thin
