"""If a serializer of users raises, no row, page or log contains a password."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.urls import reverse
from rest_framework import serializers

from config.logs import FieldsFormatter, JsonFormatter
from pillarbox.capture.muting import muted
from pillarbox.models import NotificationOutbox
from pillarbox.types.registry import ObjectType
from tests.registration import registered

pytestmark = pytest.mark.django_db(transaction=True)
User = get_user_model()
LIST, CAUSES = (
    reverse(f"admin:pillarbox_notificationoutbox_{n}") for n in ("changelist", "causes")
)
CONFIRM = reverse("admin:pillarbox_replay_confirm")
FORMATTERS = [FieldsFormatter(), JsonFormatter()]


class UserSerializer(serializers.ModelSerializer):
    class Meta:
        model = User
        fields = ["username", "password"]


class PersonType(ObjectType):
    name = "person"
    serializer_class = UserSerializer


def the_hash(user):
    return user.password


def everything(user):
    return UserSerializer(user).data


def a_reload(user):
    user.refresh_from_db()
    return vars(user)


def the_database(user):
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(auth_user) FROM auth_user WHERE id = %s", [user.pk])
        return cursor.fetchone()


def another_user(user):
    return User.objects.exclude(pk=user.pk).values_list("password")


@pytest.fixture
def pages(client, admin):
    """Return a function that returns the text of the admin's pages about the outbox."""
    with muted():  # the session before the sign-in ends
        client.force_login(admin)

    def pages(row):
        page = reverse("admin:pillarbox_notificationoutbox_change", args=[row.pk])
        addresses = [LIST, CAUSES, page, f"{CONFIRM}?pks={row.pk}", f"{LIST}?q=refused"]
        return [client.get(address).content.decode() for address in addresses]

    return pages


@pytest.mark.parametrize(
    "quote", [the_hash, everything, a_reload, the_database, another_user], ids=lambda f: f.__name__
)
def test_of_a_user_whose_serializer_raises(
    settings, demo, other, execute, relay, pages, caplog, quote
):
    """
    The error's other words are kept for operators.
    """

    class RaisingSerializer(UserSerializer):
        def to_representation(self, instance):
            raise ValueError(f"refused: {quote(instance)!r}")

    settings.PILLARBOX = settings.PILLARBOX | {"MAX_ATTEMPTS": 1}
    with registered(type("PersonType", (PersonType,), {"serializer_class": RaisingSerializer})):
        execute("UPDATE auth_user SET first_name = 'Kim' WHERE id = %s", demo.pk)
        found = execute("SELECT image FROM pillarbox_notificationoutbox")
        relay.drain()
    row = NotificationOutbox.objects.failed().get(object_type="person")
    assert "refused" in row.error_message
    found += [*pages(row), *execute("SELECT * FROM pillarbox_notificationoutbox"), caplog.text]
    found += [formatter.format(record) for formatter in FORMATTERS for record in caplog.records]
    hashes = [user.password.rpartition("$")[2] for user in (demo, other)]
    assert [] == [text for text in map(str, found) if any(one in text for one in hashes)]
