"""
The command: fetches the sources of the installed Django, and runs some of its tests with all models live.

Arguments are names of Django's test modules; without any, those that write rows are run.
"""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

import django

from config.embedded import postgres_url
from tests.rig.keeper import ROOT, keeper

MODULES = (
    *("basic", "bulk_create", "update", "delete", "get_or_create", "m2m_through"),
    *("model_inheritance", "transactions", "select_for_update", "custom_pk", "expressions"),
)
FOLDER = ROOT / ".data" / "django"


def main(modules: list[str]) -> int:
    """Run Django's tests of some modules; return the exit code."""
    folder = FOLDER / "data"
    keeper().serve(folder, postgres=True, redis=False)
    environment = {
        "DATABASE_URL": postgres_url(folder),
        "SECRET_KEY": "for-tests-only",
        "DJANGO_SETTINGS_MODULE": "tests.django_suite.settings",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "apps"))),
    }
    command = [sys.executable, "-m", "tests.django_suite.runner", str(sources() / "tests")]
    command += modules or MODULES
    try:
        with TemporaryDirectory() as temporary:
            environment["TMPDIR"] = temporary
            return subprocess.run(command, env=os.environ | environment, check=False).returncode
    finally:
        keeper().end()


def sources() -> Path:
    """Return the folder with the sources of the installed Django, from its source distribution on PyPI."""
    unpacked = FOLDER / f"django-{django.__version__}"
    if not unpacked.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        wanted = f"django=={django.__version__}"
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*download, "--no-binary", "django", wanted], cwd=FOLDER, check=True)
        with tarfile.open(FOLDER / f"django-{django.__version__}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return unpacked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
