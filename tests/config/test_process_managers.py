"""Tests of the examples for systemd and Kubernetes, by systemd itself and by Kubernetes' schemas."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from django.conf import settings

HOW_TO = settings.BASE_DIR / "apps/pillarbox/docs/howto"
#: The oldest version of Kubernetes that the page names, and the newest whose schemas are installed.
VERSIONS = ["1.30", kubernetes_validate.latest_version()]


def examples(page, language):
    """Return the page's examples in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (HOW_TO / page).read_text(), re.DOTALL)


def objects():
    """Return the objects of the page for Kubernetes."""
    return [
        each
        for example in examples("kubernetes.md", "yaml")
        for each in yaml.safe_load_all(example)
    ]


def units():
    """Return the units of the page by their names, with programs and a folder that this machine has."""
    programs = str(Path(sys.executable).parent)
    return {
        re.match(r"# (\S+)\n", example)[1]: example.replace(
            "/srv/shop/.venv/bin", programs
        ).replace("/srv/shop", "/tmp")
        for example in examples("systemd.md", "systemd")
    }


def verify(folder, units):
    """Return what systemd says against units."""
    for name, unit in units.items():
        (folder / name.replace("@", "@8001")).write_text(unit)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, folder.iterdir())]
    # Units that another one names are looked for there, too.
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}  # and systemd's own
    verified = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return verified.stdout + verified.stderr


@pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("CI"),
    reason="needs Debian's package systemd",
)
class TestSystemd:
    def test_accepts_the_units(self, tmp_path):
        """
        Every line of each unit is known and has a valid value, and what a unit names exists.
        """
        assert 5 == len(units())
        assert "" == verify(tmp_path, units())

    @pytest.mark.parametrize(
        ("right", "wrong"),
        [("KillMode=mixed", "KillMode=mixd"), ("RestartSec", "RestartSeconds"), ("/python", "/x")],
    )
    def test_would_refuse_a_mistake(self, tmp_path, right, wrong):
        """
        A mistake in a unit is noticed.
        """
        wrong_units = {name: unit.replace(right, wrong) for name, unit in units().items()}
        assert verify(tmp_path, wrong_units)

    def test_the_target_starts_every_service(self):
        """
        The target wants each of the page's services.
        """
        wanted = re.findall(r"shop-\w+@?", units()["shop.target"])
        assert {name.removesuffix(".service") for name in units()} - {"shop.target"} == {*wanted}


class TestKubernetes:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_knows_every_field(self, version):
        """
        Each object has the fields that its kind has in this version, and no others.
        """
        assert 11 == len(objects())
        for each in objects():
            kubernetes_validate.validate(each, version, strict=True)

    def test_names_fit_together(self):
        """
        Services, budgets and scaling concern a deployment of the page.
        """
        by_kind = {}
        for each in objects():
            by_kind.setdefault(each["kind"], []).append(each)
        deployments = {each["metadata"]["name"]: each for each in by_kind["Deployment"]}
        for name, each in deployments.items():
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert labels == each["spec"]["selector"]["matchLabels"] == {"app": name}
        for each in by_kind["Service"]:
            assert each["spec"]["selector"]["app"] in deployments
        for each in by_kind["PodDisruptionBudget"]:
            assert each["spec"]["selector"]["matchLabels"]["app"] in deployments
        for each in by_kind["HorizontalPodAutoscaler"]:
            assert each["spec"]["scaleTargetRef"]["name"] in deployments
