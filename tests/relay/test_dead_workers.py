"""Deaths of workers: how they are counted, and when a row fails for them."""

import pytest
from django.db.models.functions import Now

from pillarbox.models import Claim, NotificationOutbox
from pillarbox.relay import claim
from pillarbox.stream.batch_sizes import FORGIVEN_DEATHS
from tests.relay.claims import USING, claimed, later, loaded, settled
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)


def test_deaths_are_counted_by_the_next_claim():
    """
    A dead worker's rows get one more claim but no attempt; they are tried from then on.
    """
    first, second = make(), make()
    claimed()
    assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))
    assert [] == claimed()
    assert {(1, 0)} == set(NotificationOutbox.objects.values_list("claims", "attempts"))
    assert [first.pk, second.pk] == settled(tried=True)
    assert {(2, 0)} == set(NotificationOutbox.objects.values_list("claims", "attempts"))


def test_no_death_is_counted_after_an_outcome():
    """
    A claim whose rows have an outcome counts no death.
    """
    make()
    settled()
    make()
    settled()
    assert {1} == set(NotificationOutbox.objects.values_list("claims", flat=True))
    assert [[]] == list(Claim.objects.values_list("rows", flat=True))


def test_ten_deaths_fail_nothing():
    """
    Deaths up to the forgiven number, by deploys for instance, count no attempt.
    """
    make()
    for death in range(FORGIVEN_DEATHS):
        claimed(tried=death > 0)
    claimed(tried=True)
    row = NotificationOutbox.objects.get()
    assert (FORGIVEN_DEATHS, 0) == (row.claims, row.attempts)
    assert [row.pk] == [row.pk for row in loaded()]


def test_deaths_of_a_row_alone_count_in_the_end(settings):
    """
    A row that keeps killing workers alone fails in the end, with an error that says so.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 2, "BACKOFF_BASE_SECONDS": 0}
    killer, mate = make(), make(stream="ticket:2")
    claimed()
    while NotificationOutbox.objects.get(pk=killer.pk).state == "pending":
        if mate.pk in claimed(tried=True):
            NotificationOutbox.objects.filter(pk=mate.pk, claims__gt=5).update(published_at=Now())
    killer.refresh_from_db()
    assert ("failed", 2, FORGIVEN_DEATHS + 2) == (killer.state, killer.attempts, killer.claims)
    assert "pillarbox.exceptions.WorkerDiedError" == killer.error_type
    assert "Before, 10 workers died" in killer.error_message
    assert "published" == NotificationOutbox.objects.get(pk=mate.pk).state


def test_deaths_of_many_fail_none_of_them(settings):
    """
    Only a row that was claimed alone may fail; deaths of several rows together never fail them.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
    rows = [make(offset, claims=FORGIVEN_DEATHS + 5) for offset in (1, 2)]
    claim_all = Claim(shard=3, rows=[row.pk for row in rows])
    claim_all.save()
    claimed(tried=True)
    assert {(FORGIVEN_DEATHS + 6, 0)} == set(
        NotificationOutbox.objects.values_list("claims", "attempts")
    )


def test_no_death_is_counted_while_a_claim_is_young():
    """
    A worker that has just claimed a shard is not dead; the shard is left to it.
    """
    row = make()
    claim.claim(3, using=USING)
    make()
    for tried in (False, True):
        assert not claim.claim(3, using=USING, tried=tried).is_free
    assert [row.pk] == [row.pk for row in loaded()]
    assert {0} == set(NotificationOutbox.objects.values_list("claims", flat=True))
    assert not NotificationOutbox.objects.filter(offset=None).exists()


def test_deaths_count_where_the_clock_was_set_back():
    """
    A claim of an hour later is no young one: its worker is not waited for until then.
    """
    make()
    claim.claim(3, using=USING)
    Claim.objects.update(claimed_at=later(3600))
    assert 1 == claim.claim(3, using=USING).left
