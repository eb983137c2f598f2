"""Tests of imports between packages and modules. Imports inside functions count."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))

#: The packages of the project. Each imports only earlier ones.
PROJECT = ("pillarbox", "apps.tickets", "workers", "config")
#: The packages of the product, and the modules at its root. Each group imports only earlier groups.
PRODUCT = (
    {"deadlines", "close_codes", "formats", "logs", "schedule"},
    {"client"},
    {"metrics", "exceptions", "conf", "conditions"},
    {"database"},
    {"models"},
    {"types"},
    {"capture"},
    {"stream"},
    {"layer"},
    {"relay"},
    {"sockets"},
    {"replay"},
    {"erasure"},
    {"monitoring"},
    {"server", "admin", "checks", "tasks", "beat", "routing", "live", "middleware", "views"},
    {"management", "apps", "asgi", "testing", "urls"},
    {"pytest_plugin"},
)
#: The libraries that a package must not import.
FOREIGN = {
    "pillarbox": {"psycopg"},  # where only psycopg2 works, a system check has to say so
    "pillarbox.client": {"django", "channels", "celery", "pillarbox.conf"},
    "pillarbox.types": {"channels", "channels_redis", "celery", "redis"},
    "pillarbox.capture": {"channels", "channels_redis", "celery", "redis", "rest_framework"},
    "pillarbox.stream": {"channels", "channels_redis", "celery", "redis", "rest_framework"},
    "pillarbox.sockets": {"celery"},
    "apps.tickets": {"celery", "channels", "channels_redis"},
}


def imports(path, package):
    """Return the dotted names that a module imports; relative imports are resolved."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            base = base if node.level else node.module
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def folder_of(name):
    """Return the folder of a package; the product is in ``apps``."""
    return ROOT / ("apps/" * within(name, {"pillarbox"}) + name.replace(".", "/"))


def modules(name):
    """Yield the path and the imports of each module of a package."""
    folder = folder_of(name)
    paths = sorted(folder.rglob("*.py"))
    assert paths, name
    for path in paths:
        if "migrations" not in path.parts:
            within_package = path.parent.relative_to(folder).parts
            yield path, imports(path, ".".join([name, *within_package]))


def within(name, packages):
    return any(name == one or name.startswith(f"{one}.") for one in packages)


@pytest.mark.parametrize("package", PROJECT)
def test_packages_import_one_way(package):
    """
    A package imports only the packages below it.
    """
    above = {"tests", *PROJECT[PROJECT.index(package) + 1 :]}
    for path, names in modules(package):
        assert [] == [name for name in names if within(name, above)], path


@pytest.mark.parametrize("package", FOREIGN)
def test_packages_keep_to_their_own_libraries(package):
    """
    Each package imports only the libraries that its work is about.
    """
    for path, names in modules(package):
        assert [] == [name for name in names if within(name, FOREIGN[package])], path


def test_packages_of_the_product_import_one_way():
    """
    Each package and each module at the root has a place, and imports only what is before it.
    """
    folder, places = folder_of("pillarbox"), {}
    for place, group in enumerate(PRODUCT):
        places |= dict.fromkeys(group, place)
    for path, names in modules("pillarbox"):
        if path.parent == folder and path.stem == "__init__":
            continue
        own = path.relative_to(folder).with_suffix("").parts[0]
        for name in names:
            other = name.removeprefix("pillarbox.").split(".")[0]
            if name.startswith("pillarbox.") and other in places and other != own:
                assert places[other] < places[own], f"{path.relative_to(ROOT)} imports {name}"
        assert own in places, own


def test_the_fields_of_log_records_have_one_prefix():
    """
    Every module of the product logs by a logger that puts the prefix before its fields.
    """
    found = [path for path, _ in modules("pillarbox") if "getLogger(" in path.read_text()]
    assert [folder_of("pillarbox") / "logs.py"] == found


def test_the_product_has_one_name():
    """
    Nothing imports a second copy of the product, by the path to its folder.
    """
    for package in (*PROJECT, "tests"):
        for path, names in modules(package):
            assert [] == [name for name in names if within(name, {"apps.pillarbox"})], path


def test_the_rig_needs_no_other_tests():
    """
    The rig runs without pytest, and imports no tests except itself, `ports` and `waiting`.
    """
    known = {"tests.rig", "tests.ports", "tests.waiting"}
    own = (one for one in modules("tests.rig") if not {"itself", "promises"} & {*one[0].parts})
    for path, names in own:
        foreign = [name for name in names if within(name, {"pytest", "hypothesis", "tests"})]
        assert [] == [name for name in foreign if not within(name, known)], path


def test_all_kinds_of_imports_are_found(tmp_path):
    """
    Relative imports and imports inside functions are found.
    """
    module = tmp_path / "breach.py"
    module.write_text("def f():\n    from ..types.groups import group_for\n    import celery\n")
    assert {"pillarbox.types.groups", "pillarbox.types.groups.group_for", "celery"} == imports(
        module, "pillarbox.capture"
    )


def misplaced_tests(source):
    """Return the names of tests that pytest never collects: those inside a function or an unnamed class."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    scopes = [tree, *(node for node in classes if node.name.startswith("Test"))]
    collected = [node for scope in scopes for node in scope.body]
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    tests = (node for node in ast.walk(tree) if isinstance(node, functions))
    return [node.name for node in tests if node.name.startswith("test_") and node not in collected]


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_is_collected(path):
    """
    Each test is at the top level of its module, or in a class there whose name begins with Test.
    """
    assert [] == misplaced_tests(path.read_text())


def test_misplaced_tests_are_found():
    """
    Tests inside a function, or inside a class of another name, are found.
    """
    source = """
def test_a(): pass
class TestB:
    def test_c(self):
        async def test_d(): pass
class Lengthy:
    def test_e(self): pass
"""
    assert ["test_e", "test_d"] == misplaced_tests(source)


def test_no_module_has_a_generic_name():
    """
    No module has a name that says nothing about its contents.
    """
    generic = {"utils", "helpers", "services", "common", "misc", "constants", "core"}
    assert [] == [
        path for package in PROJECT for path, _ in modules(package) if path.stem in generic
    ]
