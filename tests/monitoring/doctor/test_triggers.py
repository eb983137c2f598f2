"""Tests of the doctor's check of the triggers on live tables."""

import pytest
from django.db import DEFAULT_DB_ALIAS

from pillarbox.capture.triggers.installation import install
from pillarbox.capture.triggers.required import required
from pillarbox.monitoring.doctor import triggers

from .situations import found, one, sql

pytestmark = pytest.mark.django_db


def test_sound():
    """
    Migrated tables give no findings, and the live tables are counted.
    """
    count = len(required(using=DEFAULT_DB_ALIAS).triggers)
    assert f"{count} live tables have their triggers" == triggers.are_installed()


def test_missing():
    """
    Tables without trigger are named, gravely: their changes aren't announced.
    """
    for table in ("tickets_project", "tickets_ticket"):
        sql(f"DROP TRIGGER pillarbox ON {table}")
    finding = one(triggers.are_installed())
    assert "public.tickets_project, public.tickets_ticket: has no trigger." == finding.what
    assert finding.is_grave
    assert "manage.py pillarbox triggers" in finding.cure
    install(using=DEFAULT_DB_ALIAS)
    assert [] == found(triggers.are_installed())


def test_a_view():
    """
    A live model of a view is named, and doesn't keep triggers from being installed.
    """
    sql("ALTER TABLE library_sign RENAME TO library_board")
    sql("CREATE VIEW library_sign AS SELECT * FROM library_board")
    install(using=DEFAULT_DB_ALIAS)
    finding = one(triggers.are_installed())
    assert "public.library_sign: is not a table, so it can't have a trigger." == finding.what
    assert finding.is_grave


def test_outdated_and_unwanted():
    """
    Outdated and unwanted triggers are named, but aren't grave.
    """
    (function,) = (
        each.function
        for each in required(using=DEFAULT_DB_ALIAS).triggers
        if each.table == "public.tickets_ticket"
    )
    sql(f"COMMENT ON FUNCTION {function}() IS 'another'")
    place = "AFTER INSERT ON django_admin_log FOR EACH ROW"
    sql(f"CREATE TRIGGER pillarbox {place} EXECUTE FUNCTION {function}()")
    outdated, unasked = triggers.are_installed()
    assert "public.tickets_ticket: has the trigger of another version." == outdated.what
    assert "public.django_admin_log: has a trigger and is not live." == unasked.what
    assert [False, False] == [outdated.is_grave, unasked.is_grave]
