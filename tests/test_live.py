"""The public interface of the product."""

import re
import subprocess
import sys

import pytest

from pillarbox import live
from tests.test_architecture import modules

PROJECT = """
import sys
from types import ModuleType

import django
from django.conf import settings

shop = ModuleType("shop")
shop.__path__ = [sys.argv[1]]
sys.modules["shop"] = shop
settings.configure(
    INSTALLED_APPS=["shop", "django.contrib.auth", "django.contrib.contenttypes", "pillarbox"],
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}},
)
django.setup()
"""
MODELS = """
from django.db import models

from pillarbox.live import announce, muted


class Invoice(models.Model):
    pass
"""
LIVE = """
from pillarbox.live import ObjectType, register
from rest_framework.serializers import ModelSerializer

from .models import Invoice


class InvoiceSerializer(ModelSerializer):
    class Meta:
        model = Invoice
        fields = ["id"]


@register
class InvoiceType(ObjectType):
    name = "invoice"
    serializer_class = InvoiceSerializer


print("registered")
"""


def test_the_interface_is_complete():
    """
    The module exports exactly these names, each with a docstring.
    """
    names = {
        "HashidField",
        "HashidRelatedField",
        "ObjectType",
        "announce",
        "erase",
        "muted",
        "object_type",
        "positions",
        "register",
        "rights_changed",
    }
    assert names == set(live.__all__)
    assert all(getattr(live, name).__doc__ for name in names)


@pytest.mark.parametrize("package", ["apps.tickets", "tests.library"])
def test_an_app_needs_nothing_else(package):
    """
    An app with live models imports nothing from the inside of the product.
    """
    for path, imported in modules(package):
        ours = {name for name in imported if re.match(r"pillarbox(\.|$)", name)}
        assert all(re.match(r"pillarbox\.live(\.|$)", name) for name in ours), path


def test_models_may_import_it(tmp_path):
    """
    A module with models may import the interface, also if its app is installed before the product.
    """
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "live.py").write_text(LIVE)
    ended = subprocess.run(
        [sys.executable, "-c", PROJECT, tmp_path], capture_output=True, text=True, check=False
    )
    assert ("registered\n", "") == (ended.stdout, ended.stderr)
