"""Fixtures of all benchmarks."""

from collections.abc import Iterator

import pytest

from tests.database import alter_system


@pytest.fixture(autouse=True)
def commits_wait(transactional_db: None) -> Iterator[None]:
    """Make commits wait for the disk, as in production."""
    alter_system("fsync = on")
    yield
    alter_system("fsync = off")
