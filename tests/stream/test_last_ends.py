"""The last ends of rights of a user and of objects."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import DEFAULT_DB_ALIAS

from pillarbox.models import RIGHTS, RIGHTS_SHARD, NotificationOutbox
from pillarbox.stream.commit_snapshots import CommitSnapshot
from pillarbox.stream.last_ends import LastEnds
from pillarbox.stream.numbering import number
from tests.rows import end

USING = {"using": DEFAULT_DB_ALIAS}

pytestmark = pytest.mark.django_db


class TestLast:
    """Reading the last ends of rights and what was committed before them."""

    @pytest.fixture
    def users(self):
        user = get_user_model().objects.create_user("ann")
        NotificationOutbox.objects.all().delete()
        return get_user_model().objects.filter(pk=user.pk)

    def last(self, users, *objects):
        return LastEnds(users, objects, **USING).last_snapshot(objects)

    def test_of_other_users(self, users):
        """
        Ends of other users or other objects don't count.
        """
        end(users.get().pk + 1)
        end(7, "project")
        number(RIGHTS_SHARD, **USING)
        assert self.last(users, ("project", "8"), ("shelf", "7")) is None

    def test_of_a_user(self, users):
        """
        The last numbered end of a user says what was committed.
        """
        for _ in range(2):
            end(users.get().pk)
            number(RIGHTS_SHARD, **USING)
        known = NotificationOutbox.objects.get(stream=RIGHTS, offset=2).payload
        assert CommitSnapshot(known["committed"], known["at"]) == self.last(users)

    @pytest.mark.parametrize(
        ("lookup", "value", "is_found"),
        [("groups", None, True), ("groups", 0, False), ("nothing", 1, True), ("groups", "x", True)],
    )
    def test_of_an_unknown_lookup(self, users, lookup, value, is_found):
        """
        An end with a lookup that this version doesn't know may concern any user.
        """
        group = Group.objects.create(name="staff")
        group.user_set.add(users.get())
        NotificationOutbox.objects.all().delete()
        end(group.pk if value is None else value, lookup=lookup)
        number(RIGHTS_SHARD, **USING)
        assert is_found == (self.last(users) is not None)

    @pytest.mark.parametrize("lookup", ["", "name"])
    def test_of_an_object(self, users, lookup):
        """
        An end whose object a lookup finds may concern any object of its type.
        """
        end(7, "project", lookup)
        number(RIGHTS_SHARD, **USING)
        assert self.last(users, ("project", "7")) is not None
        assert bool(lookup) == (self.last(users, ("project", "8")) is not None)
        ends = LastEnds(users, [("project", "7"), ("project", "8")], **USING)
        assert bool(lookup) == (ends.last_snapshot([("project", "8")]) is not None)

    def test_without_an_offset(self, users):
        """
        Transactions committed by now are committed before an end without an offset.
        """
        end(users.get().pk)
        number(RIGHTS_SHARD, **USING)
        end(users.get().pk)
        first = NotificationOutbox.objects.get(stream=RIGHTS, offset=1).payload
        assert self.last(users).at >= first["at"]
        assert self.last(users).text == CommitSnapshot.now(**USING).text

    def test_of_another_cluster(self, users):
        """
        A snapshot of the future came with a dump. What is committed by now counts instead.
        """
        end(users.get().pk)
        number(RIGHTS_SHARD, **USING)
        foreign = {"committed": f"9:{10**12}:", "at": "2026-11-27T10:00:00.000Z"}
        NotificationOutbox.objects.filter(stream=RIGHTS).update(payload=foreign)
        assert self.last(users).text == CommitSnapshot.now(**USING).text
