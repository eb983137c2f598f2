"""Criteria: filters select rows, and invalid ones are refused by name."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import DEFAULT_DB_ALIAS
from django.db.models.functions import Now
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.exceptions import CriteriaError
from pillarbox.models import STATES
from pillarbox.replay.criteria import MOST_PKS, Criteria
from tests.rows import make

pytestmark = pytest.mark.django_db
USING = DEFAULT_DB_ALIAS
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def found(**values):
    """Return the primary keys of the rows that match criteria."""
    return set(Criteria.parse(values).rows(using=USING).values_list("pk", flat=True))


@given(
    st.builds(
        Criteria,
        pks=st.sets(st.integers(1, 2**63 - 1), max_size=5).map(lambda pks: tuple(sorted(pks))),
        state=st.sampled_from(["", *STATES]),
        cause=TEXT,
        event=TEXT,
        stream=TEXT,
        q=TEXT,
        since=st.none() | st.datetimes(datetime(2000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        after=st.integers(0, 2**63 - 1),
    )
)
def test_are_the_same_when_they_are_read_back(criteria):
    """
    Criteria stored in a replay, or in a URL, select the same rows again.
    """
    assert criteria == Criteria.parse(criteria.as_json())


def test_all_apply():
    """
    Each filter narrows the selection; without filters all rows match.
    """
    one = make(
        1, event="A", stream="ticket:1", error_fingerprint="f", failed_at=Now(), error_type="E"
    )
    two = make(2, event="B", stream="ticket:1", object_type="project")
    assert {one.pk, two.pk} == found() == found(stream="ticket:1")
    assert {one.pk} == found(event="A") == found(cause="f") == found(state="failed")
    assert {two.pk} == found(object_type="project") == found(state="pending") == found(after=one.pk)
    assert {two.pk} == found(pks=[str(two.pk), two.pk]) == found(pks=f"{two.pk},{two.pk}")
    assert set() == found(event="A", state="pending") == found(state="published")


def test_times_are_absolute_or_relative():
    """
    An absolute time has a zone or is in the site's; a relative one, such as 2h, is that long ago.
    """
    row = make(1)
    tomorrow = (timezone.now() + timedelta(days=1)).replace(tzinfo=None).isoformat()
    for earlier in ("2h", "3 d", "2026-01-01", "2026-01-01T10:00", "2026-01-01T10:00+02:00"):
        assert {row.pk} == found(since=earlier, until=tomorrow)
        assert set() == found(until=earlier)


@pytest.mark.parametrize("words", ["icket:1", '"UPDATE TICKET"', "no row", "no Error"])
def test_search_as_the_changelist_does(words):
    """
    Each word is found in stream, event, event id or error; a quoted phrase is one word.
    """
    row = make(
        1, event="UPDATE TICKET", failed_at=Now(), error_type="KeyError", error_message="no row 7"
    )
    make(2, stream="project:1", event="UPDATE_TICKET")
    assert {row.pk} == found(q=words) == found(q=str(row.event_id))
    assert set() == found(q=f"{words} {uuid.uuid4()}")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"since": "999999d"}, "since: expected a time such as"),
        ({"colour": "red"}, "colour: no such filter. Expected some of after, cause"),
        (
            {"state": "odd"},
            "state: expected one of failed, obsolete, pending, published, retrying, unreplayed, got 'odd'.",
        ),
        ({"pks": "1,x"}, "pks: expected the primary key of a row, got 'x'."),
        ({"pks": [None]}, "pks: expected the primary key of a row, got None."),
        ({"pks": {"1": 2}}, "pks: expected primary keys of rows"),
        (
            {"pks": [1] * (MOST_PKS + 1)},
            "pks: expected primary keys of rows, at most 1000 of them.",
        ),
        ({"after": 2**63}, "after: expected the primary key of a row"),
        ({"since": "soon"}, "since: expected a time such as"),
        ({"until": "2026-13-01T10:00"}, "until: expected a time such as"),
        ({"event": "a\0"}, "event: expected text"),
        ({"q": "x" * 1001}, "q: expected text"),
        ({"stream": 7}, "stream: expected text"),
    ],
)
def test_refuse_invalid_values(values, words):
    """
    The error names the filter and the expected value.
    """
    with pytest.raises(CriteriaError) as refused:
        Criteria.parse(values)
    assert str(refused.value).startswith(words)


def test_empty_filters_are_left_out():
    """
    Empty values, as in the URL of an empty form, are ignored.
    """
    assert Criteria() == Criteria.parse({"state": "", "q": "", "since": None})
    assert "all rows" == str(Criteria())
