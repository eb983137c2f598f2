"""Tests of the doctor's checks of database connections and disk space."""

import pytest
from django.db import DEFAULT_DB_ALIAS, connection

from pillarbox.monitoring.doctor import capacity
from pillarbox.monitoring.processes import report

from .situations import found, one, sql

pytestmark = pytest.mark.django_db(transaction=True)


class TestCapacity:
    def test_connections(self):
        """
        Too few connections for the processes that run are a finding.
        """
        assert [] == found(capacity.has_connections())
        name = connection.settings_dict["NAME"]
        for kind in ("worker", "beat", "daphne"):
            report(f"{kind}@here:1", kind, {}, using=DEFAULT_DB_ALIAS)
        sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT 10')
        try:
            finding = one(capacity.has_connections())
        finally:
            sql(f'ALTER DATABASE "{name}" CONNECTION LIMIT -1')
        assert "of 10 in use; the processes that report may want 11" in finding.what

    @pytest.mark.parametrize(
        ("expected", "free"), [([], 30), ([False], 9), ([True], 1)], ids=["much", "little", "none"]
    )
    def test_disk(self, expected, free):
        """
        A disk that is nearly full is a finding.
        """
        answer = capacity.has_disk(lambda _: (100 << 30, (100 - free) << 30, free << 30))
        assert expected == ([] if isinstance(answer, str) else [f.is_grave for f in answer])

    def test_a_disk_that_cannot_be_seen(self):
        """
        A role that may not know the data directory, or another host, gives no finding.
        """
        sql("CREATE ROLE doctor_reads")
        sql("SET ROLE doctor_reads")
        try:
            assert "can't be seen from here" in capacity.has_disk()
        finally:
            sql("RESET ROLE")
            sql("DROP ROLE doctor_reads")
