"""`manage.py pillarbox erase`: options, output, exit codes, and a run that is killed."""

import subprocess
import sys

import pytest
from django.conf import settings as django_settings
from django.contrib.admin.models import LogEntry

from pillarbox.erasure.rows import BATCH
from pillarbox.models import NotificationOutbox, Rendering
from pillarbox.types import hashids
from tests.database import elsewhere, row_locks
from tests.management.calling import BY, facts, failed, outbox, refusal
from tests.processes import Site
from tests.rows import make
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = {"title": "secret"}


def published(offset, **values):
    return make(offset, payload=SECRET, published_at="2026-01-01T00:00Z", **values)


def erased():
    return NotificationOutbox.objects.filter(payload__isnull=True).count()


class TestErase:
    def test_an_object(self, demo):
        """
        Its rows are erased by primary key or public id, and the decision is in the admin's log.
        """
        published(1), published(2), published(3, object_id="2")
        text, code = outbox("erase", "ticket", "1", *BY, "--yes")
        assert (0, "2 rows are erased.") == (code, text.splitlines()[-1])
        assert 2 == erased()
        public = hashids.encode("ticket", 2)
        assert {"erased": 1, "left": 0} == facts("erase", "ticket", public, *BY, "--no-input")
        assert ["ticket:1"] * 2 + ["ticket:2"] * 2 == [
            entry.object_id for entry in LogEntry.objects.order_by("id")
        ]

    def test_a_user(self, demo, other):
        """
        --user erases the user's own stream.
        """
        for user in (demo, other):
            published(
                1, stream=f"me:{user.pk}", object_type="me", object_id=str(user.pk), event="HELLO"
            )
        assert {"erased": 1, "left": 0} == facts("erase", "--user", str(other.pk), *BY, "--yes")
        assert [f"me:{other.pk}"] == list(
            NotificationOutbox.objects.filter(payload__isnull=True).values_list("stream", flat=True)
        )

    def test_dry_run(self):
        """
        A dry run counts the rows by state, and changes nothing.
        """
        published(1), make(2, payload=SECRET)
        failed(3, object_type="ticket", object_id="1", payload=SECRET)
        words = "3 rows hold something of ticket:1: 1 published, 1 pending, 1 failed.\n"
        assert (words, 0) == outbox("erase", "ticket", "1", "--dry-run")
        counts = {"published": 1, "pending": 1, "failed": 1}
        assert counts == facts("erase", "ticket", "1", "--dry-run")
        assert 0 == erased()

    def test_several_objects(self, demo):
        """
        Each has entries in the admin's log.
        """
        published(1), published(2, object_id="2"), published(3, object_id="3")
        words = "2 rows hold something of ticket:1, ticket:3: 2 published, 0 pending, 0 failed.\n"
        assert (words, 0) == outbox("erase", "ticket", "1", "3", "--dry-run")
        assert {"erased": 2, "left": 0} == facts("erase", "ticket", "1", "3", *BY, "--yes")
        assert ["ticket:1", "ticket:1", "ticket:3", "ticket:3"] == sorted(
            entry.object_id for entry in LogEntry.objects.all()
        )

    def test_objects_that_show_it(self, project, demo):
        """
        It says how many there are. Their rows are erased, too.
        """
        published(1, object_type="project", object_id=str(project.pk))
        text, _ = outbox("erase", "--user", str(demo.pk), "--dry-run")
        assert f"something of me:{demo.pk}, and of objects that show it (1): 1 published" in text
        outbox("erase", "--user", str(demo.pk), *BY, "--yes")
        assert not NotificationOutbox.objects.filter(payload=SECRET).exists()

    def test_says_what_is_left(self, demo, settings):
        """
        Rows that another transaction keeps locked are left: it says so, with exit code 1.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.1}
        published(1), published(2)
        with elsewhere(row_locks(NotificationOutbox.objects.filter(offset=2))):
            text, code = outbox("erase", "ticket", "1", *BY, "--yes")
        assert 1 == code
        assert [
            "1 rows are erased.",
            "1 rows are not, because others use them. Try again.",
        ] == text.splitlines()[-2:]

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "Expected either TYPE and ID"),
            (["ticket"], "Expected either TYPE and ID"),
            (["ticket", "1", "--user", "1"], "Expected either TYPE and ID"),
            (["ticket", "--user", "1"], "Expected either TYPE and ID"),
            (["ghost", "1"], "'ghost' is not registered"),
            (["ticket", "1x"], "No ticket has the primary key '1x'."),
            (["--user", "demo"], "No me has the primary key 'demo'."),
            (["ticket", "1"], "--reason: expected a reason"),
            (["ticket", "1", "--reason", "asked"], "--by: expected your username"),
            (["ticket", "1", "--reason", "asked", "--by", "nobody"], "there is no user 'nobody'."),
            (["ticket", "1", *BY], "--yes: expected, since there is no terminal to ask."),
        ],
    )
    def test_refuses_invalid_options(self, demo, arguments, words):
        """
        Invalid options and a missing confirmation are refused, each with a sentence that names it.
        """
        published(1)
        assert words in refusal("erase", *arguments)
        assert 0 == erased()

    def test_a_record_that_is_locked_for_long(self, demo, settings):
        """
        If another process holds what the erasure needs, it says so, and exits with 1.
        """
        row = make(image={"title": "secret"}, payload=None, transaction=1)
        Rendering.objects.create(shard=row.shard, turn=1)
        settings.PILLARBOX = settings.PILLARBOX | {"LOCK_IDLE_SECONDS": 0.1}
        with elsewhere(row_locks(Rendering.objects.all())):
            text, code = outbox("erase", "ticket", "1", *BY, "--yes")
        assert 1 == code
        assert "Nothing was erased. Try again." in text

    def test_an_id_with_two_meanings(self, settings):
        """
        An id that is one object's primary key and another's public id is refused.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"HASHID_LENGTH": 1}
        ids = (hashids.encode("ticket", pk) for pk in range(10_000))
        text = next(one for one in ids if one.isdecimal())
        assert "and the public id of another" in refusal("erase", "ticket", text)


def test_a_killed_erasure_is_continued(demo):
    """
    If the process is killed between two batches, the same command erases the rest.
    """
    NotificationOutbox.objects.bulk_create(
        NotificationOutbox(
            stream="ticket:1",
            shard=3,
            offset=offset,
            object_type="ticket",
            object_id="1",
            payload=SECRET,
            published_at="2026-01-01T00:00Z",
        )
        for offset in range(1, BATCH + 3)
    )
    command = [sys.executable, "manage.py", "pillarbox", "erase", "ticket", "1", *BY, "--yes"]
    rest = NotificationOutbox.objects.filter(offset__gt=BATCH)
    with (
        elsewhere(row_locks(rest)),
        subprocess.Popen(
            command,
            cwd=django_settings.BASE_DIR,
            env=Site(None).environment,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        wait_until(lambda: erased() == BATCH, "the first batch is erased")
        process.kill()
        assert process.wait(PATIENCE) < 0
    assert {"erased": 2, "left": 0} == facts("erase", "ticket", "1", *BY, "--yes")
    assert list(range(1, BATCH + 3)) == list(
        NotificationOutbox.objects.filter(payload__isnull=True)
        .order_by("offset")
        .values_list("offset", flat=True)
    )
    assert ["begun", "begun", "ended"] == [
        entry.get_change_message().split()[1].rstrip(":")
        for entry in LogEntry.objects.order_by("id")
    ]
