"""The package as others install it: built, installed into an empty environment, used by a new project."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from contextlib import ExitStack
from email import message_from_bytes
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest
from django.conf import settings
from django.db import connection

from tests.ports import answers, free_port
from tests.rig.keeper import keeper
from tests.waiting import PATIENCE, wait_until

ROOT = settings.BASE_DIR
SOURCE = ROOT / "apps" / "pillarbox"
#: What the project had in its settings before, on this machine.
SETTINGS = """
import json, os
INSTALLED_APPS += ["rest_framework.authtoken", "invoices"]
DATABASES = {"default": json.loads(os.environ["DATABASE"])}
ALLOWED_HOSTS = ["127.0.0.1"]
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["rest_framework.authentication.TokenAuthentication"]
}
MIDDLEWARE.insert(0, "pillarbox.middleware.probes.ProbesMiddleware")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MODELS = """
from django.conf import settings
from django.db import models

class Invoice(models.Model):
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    paid = models.BooleanField(default=False)
"""
#: The project's configuration of pytest.
PYTEST = """
[pytest]
DJANGO_SETTINGS_MODULE = shop.settings
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""
#: Follows an invoice, saves it by `asave`, and prints the notification.
FOLLOW = """
import asyncio, sys
import django
django.setup()
from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from rest_framework.authtoken.models import Token
from pillarbox.client.client import Client
from pillarbox.types.hashids import encode
from invoices.models import Invoice

def prepared():
    user = get_user_model().objects.create_user(sys.argv[1])
    return Token.objects.create(user=user).key, Invoice.objects.create(owner=user)

async def main():
    token, invoice = await sync_to_async(prepared)()
    async with Client(sys.argv[1], headers={"Authorization": f"Token {token}"}) as client:
        subscription = await client.subscribe("invoice", encode("invoice", invoice.pk))
        invoice.paid = True
        await invoice.asave()
        async for item in subscription:
            print(item)
            if "UPDATE_INVOICE" in str(item):
                break

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """Build the sdist, and the wheel from it; return both paths."""
    folder = tmp_path_factory.mktemp("distributions")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def python(distributions, tmp_path_factory):
    """Return the interpreter of an empty environment into which the wheel was installed, without Celery."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-compile")
    _run(*pip, f"{distributions[1]}[daphne,test]", "psycopg[binary]")
    return python


def environment_outside():
    """Return the environment for programs that don't use this repository, nor measure its coverage."""
    ours = ("PYTHONPATH", "COVERAGE")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _run(*command, **options):
    """Run a command, outside this repository unless told otherwise; return its output."""
    options = {
        "cwd": "/",
        "env": environment_outside(),
        "text": True,
        "capture_output": True,
        **options,
    }
    done = subprocess.run([*map(str, command)], check=False, timeout=PATIENCE, **options)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_all_files_are_in_both(distributions):
    """
    The sdist and the wheel have each module, template, script and page of the package, and nothing else.
    (setuptools always adds some tests to the sdist.)
    """
    ours = {
        f"pillarbox/{path.relative_to(SOURCE)}"
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    folders = {name.split("/")[1] for name in ours}
    assert {"docs", "static", "templates", "migrations", "py.typed"} <= folders
    sdist, wheel = distributions
    with tarfile.open(sdist) as archive:
        files = {item.name.partition("/")[2] for item in archive if item.isfile()}
    own = {"PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    packed = {name for name in files - own if not re.match(r"tests/|apps/.*\.egg-info/", name)}
    assert {f"apps/{name}" for name in ours} == packed
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert ours == names


def test_metadata(distributions):
    """
    The package index can show the name, the versions of Python and the README.
    """
    archive = zipfile.ZipFile(distributions[1])
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = message_from_bytes(archive.read(name))
    assert ("django-pillarbox", ">=3.11") == (metadata["Name"], metadata["Requires-Python"])
    assert "text/markdown" == metadata["Description-Content-Type"].partition(";")[0]
    assert metadata.get_payload().lstrip().startswith("# Pillarbox")


def test_it_installs_from_a_checkout_and_from_git(tmp_path):
    """
    pip installs a checkout, and the repository of one.
    """
    checkout = tmp_path / "checkout"
    shutil.copytree(SOURCE, checkout / "apps" / "pillarbox")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, checkout / name)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All")):
        _run("git", *identity, *command, cwd=checkout)
    for number, source in enumerate((checkout, f"git+file://{checkout}")):
        target = tmp_path / str(number)
        options = ("--no-deps", "--no-build-isolation", "-q", "--target", target)
        _run(sys.executable, "-m", "pip", "install", *options, source)
        assert (target / "pillarbox" / "apps.py").exists()


class TestNewProject:
    """
    A project that follows the quick start, in an environment that has the wheel and not this repository.
    """

    @pytest.fixture
    def project(self, python, tmp_path, transactional_db):
        """Return the folder of a new project, with the settings and the live model of the quick start."""
        keeper()  # it ends what this process leaves behind
        _run(python, "-m", "django", "startproject", "shop", tmp_path)
        _run(python, "manage.py", "startapp", "invoices", cwd=tmp_path)
        (added,) = _examples("quickstart", "INSTALLED_APPS")
        (live,) = _examples("quickstart", "from rest_framework")
        here = added.replace("redis://localhost:6379/0", settings.REDIS_URL)
        for name, text in (
            ("shop/settings.py", SETTINGS + here),
            ("invoices/models.py", MODELS),
            ("invoices/live.py", live),
        ):
            with (tmp_path / name).open("a") as file:
                file.write(text)
        return tmp_path

    @pytest.fixture
    def environment(self):
        """Return the environment of the project's processes, with an empty database of its own."""
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE IF EXISTS new_project WITH (FORCE)")
            cursor.execute("CREATE DATABASE new_project")
        given = connection.settings_dict
        keys = ("ENGINE", "USER", "PASSWORD", "HOST", "PORT", "OPTIONS")
        database = {**{key: given[key] for key in keys}, "NAME": "new_project"}
        database |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
        yield {
            **environment_outside(),
            "DJANGO_SETTINGS_MODULE": "shop.settings",
            "DATABASE": json.dumps(database),
        }
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE new_project WITH (FORCE)")

    def test_a_save_becomes_a_frame(self, python, project, environment):
        """
        It passes its checks, migrates and answers probes. A subscriber is sent what `asave` has saved, by our
        Daphne and by `runserver`.
        """
        options = {"cwd": project, "env": environment}
        _run(python, "manage.py", "check", **options)
        _run(python, "manage.py", "makemigrations", "invoices", **options)
        _run(python, "manage.py", "migrate", **options)
        where = Path(_run(python, "-c", "import pillarbox; print(pillarbox.__file__)", **options))
        assert python.parent.parent in where.parents
        port, web_port = free_port(), free_port()
        web = ("manage.py", "runserver", "--noreload", web_port)
        daphne = ("-m", "pillarbox.server", "-p", port, "pillarbox.asgi:application")
        work = ("manage.py", "pillarbox", "run")
        with ExitStack() as stack:
            for command in (daphne, web, work):
                process = subprocess.Popen([*map(str, (python, *command))], **options)
                stack.callback(process.wait, PATIENCE)
                stack.callback(process.terminate)
            for one in (port, web_port):
                wait_until(partial(answers, one), "Daphne serves")
                with urlopen(f"http://127.0.0.1:{one}/healthz", timeout=PATIENCE) as answer:
                    assert {"alive": True} == json.load(answer)
            for one in (port, web_port):
                address = f"ws://127.0.0.1:{one}/ws/notifications/"
                said = _run(python, "-c", FOLLOW, address, **options)
                assert "'paid': True" in said.splitlines()[-1]

    def test_its_tests_use_the_kit(self, python, project, environment):
        """
        The examples of the page about tests pass, by Django's runner and by pytest with the fixtures.
        """
        options = {"cwd": project, "env": environment}
        (project / "invoices/tests.py").unlink()
        (project / "invoices/live.py").unlink()
        (model,) = _examples("howto/make-a-model-live", "from django.conf")
        (project / "invoices/models.py").write_text(model)
        examples = _examples("howto/test-your-project", "")
        for number, example in enumerate(examples):
            (project / f"invoices/test_{number}.py").write_text(example)
        (project / "pytest.ini").write_text(PYTEST)
        _run(python, "manage.py", "makemigrations", "invoices", **options)
        _run(python, "manage.py", "test", "--noinput", **options)
        said = _run(python, "-m", "pytest", "-v", **options)
        assert 4 == len(examples)
        assert said.count(" PASSED ") == "".join(examples).count("def test_")


def _examples(page, beginning):
    """Return the Python examples of a page of the documentation that begin like this."""
    text = (SOURCE / f"docs/{page}.md").read_text()
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return [example for example in examples if example.startswith(beginning)]
