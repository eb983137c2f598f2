"""Tests of the admin's lists with invalid lookups in the address."""

import pytest
from django.urls import reverse

from config.admin import NotifierAdminSite

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def console(client, admin):
    client.force_login(admin)
    return client


@pytest.mark.parametrize("name", ["auth_user", "tickets_ticket", "pillarbox_notificationoutbox"])
@pytest.mark.parametrize(
    "lookup",
    [
        "id__regex=(",
        "id__in=a",
        "nothing=1",
        "id__contains=%00",
        "id__range=1",
        "pk__unaccent=1",
    ],
)
def test_an_invalid_lookup(console, ticket, name, lookup):
    """
    An invalid lookup shows the unfiltered list.
    """
    url = reverse(f"admin:{name}_changelist")
    answer = console.get(f"{url}?{lookup}", follow=True)
    assert 200 == answer.status_code
    model = answer.context["cl"].model
    shown = {row.pk for row in answer.context["cl"].result_list}
    assert set(model.objects.values_list("pk", flat=True)) == shown


@pytest.mark.parametrize("year", ["0", "99999", "9" * 40])
def test_a_year_that_is_out_of_range(console, ticket, year):
    """
    A year that Python can't represent shows the unfiltered list.
    """
    url = reverse("admin:tickets_ticket_changelist")
    answer = console.get(f"{url}?created__year={year}", follow=True)
    assert 200 == answer.status_code
    assert ticket.title in answer.content.decode()


def test_a_valid_lookup(console, demo):
    """
    A valid regular expression filters the list.
    """
    answer = console.get(reverse("admin:auth_user_changelist"), {"username__regex": "^de"})
    assert 200 == answer.status_code
    assert [demo] == list(answer.context["cl"].result_list)


@pytest.mark.parametrize("query", ["", "?e=1"])
def test_an_error_without_a_lookup_is_raised(rf, admin, query):
    """
    An error without a lookup is raised, so that it is logged and answered with 500.
    """

    def broken(request):
        raise ValueError("broken")

    request = rf.get(f"/admin/{query}")
    request.user = admin
    with pytest.raises(ValueError, match="broken"):
        NotifierAdminSite().admin_view(broken)(request)
