"""Who may import whom. Imports inside functions count."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))

#: What each room may import of ours. No arrow back.
ALLOWED = {
    "apps.outbox": set(),
    "apps.realtime": {"apps.outbox"},
    "apps.tickets": {"apps.outbox", "apps.realtime"},
    "workers": {"apps.outbox", "apps.realtime"},
    "config": {"apps.outbox", "apps.realtime", "apps.tickets", "workers"},
}
#: What only one half may know.
FOREIGN = {
    "apps.outbox": {"channels", "channels_redis", "celery", "rest_framework", "redis"},
    "apps.realtime": {"celery", "workers"},
    "apps.tickets": {"celery", "channels", "channels_redis"},
}
#: Inside the durable half: each layer imports only those before it.
LAYERS = {
    "apps.outbox": [
        {"exceptions", "conf", "backoff", "operations", "metrics", "progress", "shell", "traces"},
        {"payload", "models", "bell", "locks", "stored", "redaction"},
        {"announcers", "attempts", "epochs", "numbering", "retention", "schema"},
        {"audit", "backlog", "causes", "criteria", "instances", "minutes", "verdicts"},
        {"charts", "replay", "running"},
        {"preview"},
        {"health"},
        {"tiles"},
        {"dashboard"},
        {"admin_actions", "admin_dashboard", "admin_filters"},
        {"admin_replay"},
        {"rows"},
        {"images", "triggers"},
        {"rendering", "claim", "history"},
        {"unrendered"},
        {"renderer"},
        {"capture"},
        {"saves", "bulk", "deletions"},
        {"hooks", "checks", "admin", "guard"},
        {"apps"},
    ],
    "apps.realtime": [
        {
            "exceptions",
            "conf",
            "groups",
            "close_codes",
            "deadlines",
            "audience",
            "metrics",
            "standing",
        },
        {"link", "hashids", "database", "grants", "limits", "following", "reconnecting"},
        {"layers", "object_types", "asking"},
        {"registry", "client"},
        {"fields", "envelope", "serializers", "authentication", "announce", "subscriptions"},
        {"commands", "publish", "catch_up", "resume", "rendered"},
        {"rights", "frames"},
        {"socket"},
        {"positions", "waiting"},
        {"rounds"},
        {"forwarding"},
        {"subscribing"},
        {"consumers"},
        {"routing", "checks"},
        {"apps"},
    ],
}


def imports(path, package):
    """Return the dotted names that a module imports, relative ones made whole."""
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


def modules(room):
    folder = ROOT / room.replace(".", "/")
    paths = sorted(folder.rglob("*.py"))
    assert paths, room
    for path in paths:
        if "migrations" not in path.parts:
            package = ".".join(path.relative_to(ROOT).parts[:-1])
            yield path, imports(path, package)


def imports_of(module, room, found):
    """Return what a module of a room imports, or, if it is a package, what its modules import."""
    place = ROOT / room.replace(".", "/") / module
    paths = [path for path in found if path in (place.with_suffix(".py"), *place.glob("*.py"))]
    assert paths, f"There is no {module} in {room}."
    return set().union(*(found[path] for path in paths))


def within(name, rooms):
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


@pytest.mark.parametrize("room", ALLOWED)
def test_rooms_import_one_way(room):
    """
    A room imports only the rooms below it.
    """
    others = set(ALLOWED) - ALLOWED[room] - {room}
    for path, names in modules(room):
        assert [] == [name for name in names if within(name, {*others, "tests"})], path


@pytest.mark.parametrize("room", FOREIGN)
def test_each_half_knows_its_own_libraries(room):
    """
    The durable half knows nothing of sockets, the live half nothing of workers.
    """
    for path, names in modules(room):
        assert [] == [name for name in names if within(name, FOREIGN[room])], path


@pytest.mark.parametrize("room", LAYERS)
def test_modules_of_a_room_import_downwards(room):
    """
    Inside a room the modules stand in layers, and every module has its place.
    """
    below: set[str] = set()
    seen = {"__init__"}
    found = dict(modules(room))
    for layer in LAYERS[room]:
        for module in sorted(layer):
            ours = {
                name
                for name in imports_of(module, room, found)
                if within(name, {room}) and name != room
            }
            own = {name.removeprefix(f"{room}.").split(".")[0] for name in ours} - {module}
            assert own <= below, f"{module} imports {own - below}"
        below |= layer
        seen |= layer
    names = {path.stem for path in found if path.parent == ROOT / room.replace(".", "/")}
    assert names <= seen


def test_the_rig_needs_no_other_tests():
    """
    The rig runs without pytest, and of the tests it knows itself, their ports and how they wait.
    """
    known = {"tests.rig", "tests.ports", "tests.waiting"}
    own = (one for one in modules("tests.rig") if not {"itself", "promises"} & {*one[0].parts})
    for path, names in own:
        foreign = [name for name in names if within(name, {"pytest", "hypothesis", "tests"})]
        assert [] == [name for name in foreign if not within(name, known)], path


def test_a_breach_would_be_seen(tmp_path):
    """
    The rule sees relative imports and imports inside functions.
    """
    module = tmp_path / "breach.py"
    module.write_text("def f():\n    from ..realtime.groups import group_for\n    import celery\n")
    assert {"apps.realtime.groups", "apps.realtime.groups.group_for", "celery"} == imports(
        module, "apps.outbox"
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
    A test stands at the top of its module, or in a class there whose name begins with Test.
    """
    assert [] == misplaced_tests(path.read_text())


def test_a_test_inside_a_function_would_be_seen():
    """
    Neither a function nor a class of another name hides a test.
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


def test_nothing_unnamed_has_a_drawer():
    """
    No module is called by what it isn't.
    """
    drawers = {"utils", "helpers", "services", "common", "misc", "constants", "core"}
    assert [] == [path for room in ALLOWED for path, _ in modules(room) if path.stem in drawers]
