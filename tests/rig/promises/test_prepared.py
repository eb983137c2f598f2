"""Tests of two-phase transactions: PREPARE TRANSACTION, then COMMIT PREPARED or ROLLBACK PREPARED."""

import pytest

from tests.rig import ledger
from tests.rig.site import CHANGE, Site
from tests.waiting import wait_until


@pytest.fixture
def site(tmp_path_factory):
    """Yield a site whose database allows prepared transactions."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        site.query("ALTER SYSTEM SET max_prepared_transactions = 5")
        _restart(site)
        yield site


def test_rows_are_published_after_the_second_phase(site):
    """
    Prepared rows survive a restart of the server and hold up no others. Once committed, the sweep finds them.
    """
    project, another = site.prepare(clients=0, projects=2, tickets=2)["projects"]
    kept, dropped, other, _ = (
        pk for (pk,) in site.query("SELECT id FROM tickets_ticket ORDER BY id")
    )
    _change_and_prepare(site, kept, project, "kept")
    _change_and_prepare(site, dropped, project, "dropped")
    _restart(site)
    site.start("worker", "beat")
    site.change(other, another, "meanwhile")
    wait_until(site.is_drained, "all committed rows are published")
    assert ["meanwhile"] * 2 == _contents(site)
    site.query("ROLLBACK PREPARED 'dropped'")
    site.query("COMMIT PREPARED 'kept'")
    wait_until(lambda: len(_contents(site)) == 4, "the sweep finds the rows")
    assert ["meanwhile"] * 2 + ["kept"] * 2 == _contents(site)
    assert [] == site.result().errors


def _restart(site):
    site.kill_postgres()
    site.start_servers()


def _change_and_prepare(site, ticket, project, content):
    """Change a ticket in a transaction, and prepare it without committing."""
    streams = [f"project.tickets:{project}", f"ticket:{ticket}"]
    with site.connection() as connection:
        connection.execute("BEGIN")
        connection.execute(CHANGE, [content, ticket])
        connection.execute(ledger.RECORD, [streams, content, []])
        connection.execute(f"PREPARE TRANSACTION '{content}'")


def _contents(site):
    return [published.content for published in site.published()]
