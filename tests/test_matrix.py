"""Tests of the matrix: its pairs, their files, and the search for interpreters."""

import os
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests import matrix
from tests.matrix import (
    NOTHING_RAN,
    PAIRS,
    ROOT,
    SUPPORTED,
    availability,
    exit_code,
    find_interpreters,
)

REQUIREMENTS = ROOT / "requirements"
THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"


def lines(path):
    """Return a requirements file's lines without its comments."""
    found = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in found if line]


class TestFiles:
    def test_each_django_has_its_constraints(self):
        """
        There is one constraints file for each supported Django, which pins that series and nothing else.
        """
        pins = {path.stem: lines(path) for path in REQUIREMENTS.glob("django-*.txt")}
        assert {f"django-{django}" for django in SUPPORTED} == set(pins)
        for name, (pin,) in pins.items():
            assert pin.startswith(f"Django=={name.removeprefix('django-')}.")

    def test_the_documented_installation_is_the_oldest_pair(self):
        """
        `base.txt` has the constraints of the oldest Django, and the linters target the oldest Python.
        """
        python, _, django = PAIRS[0].partition("-")
        assert ["-r packages.txt", f"-c django-{django}.txt", "-e ."] == lines(
            REQUIREMENTS / "base.txt"
        )
        ruff = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]
        assert f"py{python.replace('.', '')}" == ruff["target-version"]

    def test_every_requirement_is_pinned(self):
        """
        Only Django, which the constraints pin, has no version in the requirements.
        """
        names = ["packages.txt", "tests.txt", "dev.txt"]
        found = [line for name in names for line in lines(REQUIREMENTS / name)]
        assert ["Django", "-r base.txt", "-r tests.txt"] == [x for x in found if "==" not in x]

    def test_the_package_admits_what_is_tested(self):
        """
        Each pinned version is in the range of the package, which names all tested Pythons and Djangos.
        """
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = chain.from_iterable(project["optional-dependencies"].values())
        ranges = [Requirement(line) for line in (*project["dependencies"], *extras)]
        files = ("packages.txt", "tests.txt", *(f"django-{django}.txt" for django in SUPPORTED))
        pinned = [Requirement(line) for name in files for line in lines(REQUIREMENTS / name)]
        for one in ranges:
            pins = [pin.specifier for pin in pinned if pin.name == one.name and pin.specifier]
            assert pins, one
            for (pin,) in pins:
                assert one.specifier.contains(pin.version), one
        named = {line.rpartition(" :: ")[2] for line in project["classifiers"]}
        assert {*SUPPORTED, *chain.from_iterable(SUPPORTED.values())} == {
            version for version in named if re.fullmatch(r"\d\.\d+", version)
        }

    def test_ci_runs_the_newest_pair(self):
        """
        CI runs the newest pair by the command that the READMEs show, and they name every version.
        """
        newest = f"python -m tests.matrix {PAIRS[-1]}"
        assert newest in (ROOT / ".ci" / "run").read_text()
        readme = (ROOT / "README.md").read_text().partition("## Test it")[2].partition("\n## ")[0]
        assert newest in readme
        versions = {*SUPPORTED, *(python for pythons in SUPPORTED.values() for python in pythons)}
        assert versions <= set(re.findall(r"\d\.\d+", readme))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return the home folder of a machine that has only this process's Python. Its PATH is one folder."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def install(path, script):
    """Install a program under the name of an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


ANSWERS_3_99 = "#!/bin/sh\necho 3.99\n"


class TestFinding:
    def test_the_running_python_is_found(self, machine):
        """
        Without other interpreters, only the Python of this process is found.
        """
        assert [THIS] == list(find_interpreters())

    def test_a_program_that_does_not_run_is_no_interpreter(self, machine):
        """
        A shim of pyenv whose version isn't active ends with 127; a broken program can't even start.
        """
        install(machine / "bin" / "python3.98", "#!/bin/sh\nexit 127\n")
        install(machine / "bin" / "python3.97", "neither a script nor a program")
        assert [THIS] == list(find_interpreters())

    @pytest.mark.parametrize(
        "path",
        ["bin/python3", "pyenv/versions/x/bin/python3", ".local/share/uv/python/x/bin/python3"],
    )
    def test_an_interpreter_is_asked_for_its_version(self, machine, path):
        """
        An interpreter is listed under the version that it prints, wherever it is installed.
        """
        install(machine / path, ANSWERS_3_99)
        assert (machine / path) == find_interpreters()["3.99"]

    def test_programs_with_similar_names_are_not_asked(self, machine):
        """
        `python3-config` would print a version, too, but is no interpreter.
        """
        install(machine / "bin" / "python3-config", ANSWERS_3_99)
        assert [THIS] == list(find_interpreters())


class TestCommand:
    def call(self, *arguments, path="/nowhere"):
        environment = {**os.environ, "PATH": path, "HOME": path, "PYENV_ROOT": path}
        return subprocess.run(
            [sys.executable, "-m", "tests.matrix", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def test_a_missing_interpreter_is_reported(self):
        """
        The line names the missing Python, and the exit code means that nothing ran.
        """
        pair = next(pair for pair in reversed(PAIRS) if not pair.startswith(f"{THIS}-"))
        done = self.call(pair)
        python = pair.partition("-")[0]
        reason = f"not available: no Python {python} was found, only {THIS}"
        assert (NOTHING_RAN, f"{pair}  {reason}") == (done.returncode, done.stdout.strip())

    def test_an_unknown_pair_is_refused(self):
        """
        The message names the pairs that are supported.
        """
        done = self.call("3.11-6.1")
        assert 2 == done.returncode
        assert "3.11-6.1 is not supported. The pairs are 3.11-5.2, " in done.stderr

    def test_list_shows_what_would_run(self):
        """
        Each pair has one line with its interpreter, or with the reason why there is none.
        """
        done = self.call("--list")
        listed = dict(line.split("  ", 1) for line in done.stdout.splitlines() if line)
        program = Path(sys.executable).resolve()
        assert PAIRS == list(listed)
        assert listed == {pair: availability(pair, {THIS: program}) for pair in PAIRS}

    def test_exit_codes(self):
        """
        One failed pair fails the run; missing interpreters don't, unless nothing ran.
        """
        missing = "not available: no Python 3.13 was found, only 3.11"
        assert 0 == exit_code(["passed", missing])
        assert 1 == exit_code(["passed", "failed: pytest ended with exit code 1", missing])
        assert NOTHING_RAN == exit_code([missing, missing])


class TestRun:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        """Return a function that runs a pair with a fake interpreter, whose environments run a script."""
        monkeypatch.setattr(matrix, "ENVIRONMENTS", tmp_path)

        def run(script):
            interpreter = tmp_path / "python"
            interpreter.write_text(
                "#!/bin/sh\n"
                f'mkdir -p "$3/bin" && printf \'#!/bin/sh\\n{script}\\n\' > "$3/bin/python"\n'
                'chmod +x "$3/bin/python"\n'
            )
            interpreter.chmod(0o755)
            return matrix.run("3.13-6.1", {"3.13": interpreter}, ["-k", "nothing"])

        return run

    def test_passes(self, run):
        """
        A pair passes if each step succeeds.
        """
        assert "passed" == run("exit 0")

    def test_names_the_step_that_failed(self, run, capfd):
        """
        The outcome names the first step that failed; the steps are printed as a person would run them.
        """
        assert "failed: installing ended with exit code 3" == run("exit 3")
        assert "-m pip install -qq -r requirements/packages.txt" in capfd.readouterr().out
