"""Tests of the system check of the versions of Python and Django."""

import re
import tomllib
from pathlib import Path

import pytest

from pillarbox.checks.versions import TESTED, untested, versions_are_tested

ROOT = Path(__file__).parent.parent.parent


def test_these_versions_are_tested():
    """
    The versions that run this test are accepted.
    """
    assert [] == versions_are_tested()


@pytest.mark.parametrize(
    ("name", "version"),
    [("Python", (3, 10)), ("Python", (3, 14)), ("Django", (5, 1)), ("Django", (6, 2))],
)
def test_other_versions_are_refused(name, version):
    """
    A version that is older, or newer, than the tested ones is an error that names it.
    """
    (error,) = untested(name, version)
    assert ("pillarbox.E012", True) == (error.id, error.is_serious())
    assert f"{name} {version[0]}.{version[1]}." in error.msg


def test_the_tested_versions_are_those_of_the_package():
    """
    The check and the package's classifiers name the same versions.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = "\n".join(project["classifiers"])
    for name, title in (
        ("Python", "Programming Language :: Python"),
        ("Django", "Framework :: Django"),
    ):
        assert TESTED[name] == tuple(re.findall(rf"^{title} :: (\d+\.\d+)$", listed, re.MULTILINE))
