"""A pytest plugin: the order of tests, and which tests run in the same process."""

from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Called after collection. Takes a file of each folder in turn, to mix waiting and busy tests."""
    folders: dict[str, dict[Path, list[pytest.Item]]] = {}
    for item in items:
        folder = item.nodeid.rpartition("::")[0].split("/")[1]
        folders.setdefault(folder, {}).setdefault(item.path, []).append(item)
    turns = zip_longest(*(files.values() for files in folders.values()), fillvalue=())
    items[:] = chain.from_iterable(chain.from_iterable(turns))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "ByFile":
    """Called when pytest-xdist distributes tests."""
    return ByFile(config, log)


class ByFile(LoadScopeScheduling):
    """A scheduler that keeps each file in one process, and all of ``protocol``: its last test needs that."""

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        return str(path.parent if path.parent.name == "protocol" else path)
