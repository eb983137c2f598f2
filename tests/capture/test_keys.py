"""Keys of every kind, whatever their columns are called: primary and foreign keys, and those of relations."""

import uuid
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.db import connection, models

from pillarbox.models import RIGHTS, NotificationOutbox
from tests.library.models import Tag
from tests.registration import library_model, registered, tables, type_of
from tests.rendering import render_all

pytestmark = pytest.mark.django_db(transaction=True)

KEY = uuid.UUID(int=7)
#: A move, or another key, may end rights to the object.
MOVED = "rights UPDATE"
#: How a column is called: as Django calls it, or by `db_column`.
NAMES = {
    "by default": lambda name: {},
    "by db_column": lambda name: {"db_column": f"The {name}'s id"},
}


def league(column):
    """Return models whose keys are of every kind; ``column`` returns the option for a column's name."""
    team = library_model(
        "Team",
        number=models.IntegerField(primary_key=True, **column("number")),
        code=models.CharField(max_length=20, unique=True, **column("code")),
        tags=models.ManyToManyField(Tag, related_name="+"),
        fans=models.ManyToManyField(
            get_user_model(),
            through="library.Fan",
            through_fields=("team", "user"),
            related_name="+",
        ),
    )
    to_team = {"to": team, "on_delete": models.CASCADE}
    player = library_model(
        "Player",
        key=models.UUIDField(primary_key=True, **column("key")),
        team=models.ForeignKey(**to_team, null=True, related_name="players", **column("team")),
    )
    coach = library_model(
        "Coach",
        team=models.OneToOneField(**to_team, primary_key=True, **column("team")),
        name=models.CharField(max_length=20),
    )
    kit = library_model(
        "Kit",
        colour=models.CharField(max_length=20),
        team=models.ForeignKey(**to_team, to_field="code", related_name="kits", **column("team")),
    )
    fan = library_model(
        "Fan",
        # Three keys to users, of which the last one is the relation's.
        invited_by=models.ForeignKey(
            get_user_model(), models.CASCADE, null=True, related_name="+", db_constraint=False
        ),
        team=models.ForeignKey(**to_team, to_field="code", **column("team")),
        user=models.ForeignKey(
            get_user_model(),
            models.CASCADE,
            related_name="+",
            db_constraint=False,
            **column("user"),
        ),
    )
    keeper = type(
        "Keeper",
        (player,),
        {
            "__module__": __name__,
            "Meta": type("Meta", (), {"app_label": "library"}),
            "player": models.OneToOneField(
                player, models.CASCADE, parent_link=True, primary_key=True, **column("player")
            ),
            "saves": models.IntegerField(default=0),
        },
    )
    return SimpleNamespace(team=team, player=player, coach=coach, kit=kit, fan=fan, keeper=keeper)


def team_payload(self, team):
    """Return what a team has by each of its relations."""
    return {
        "players": team.players.count(),
        "kits": [kit.colour for kit in team.kits.order_by("pk")],
        "tags": team.tags.count(),
        "fans": team.fans.count(),
    }


@pytest.fixture(params=NAMES)
def live(request):
    """Create the models' tables and make them live; yield the models and a user."""
    models_ = league(NAMES[request.param])
    players = {"collections": {"team.players": "team"}}
    shows = ("tags", "fans", "players__*", "kits__*")
    types = (
        type_of(models_.team, payload=team_payload, shows=shows, grants=("fans",)),
        type_of(models_.player, **players),
        type_of(models_.coach, collections={"team.coaches": "team"}),
        type_of(models_.kit),
        type_of(models_.keeper, collections={"team.keepers": "team"}),
    )
    user = get_user_model().objects.create_user("ann")
    with tables(*vars(models_).values()), registered(*types):
        yield SimpleNamespace(**vars(models_), user=user)


CHANGES = {
    "team, renamed": (
        lambda w: w.team.objects.filter(pk=1).update(code="new"),
        ["team:1 UPDATE"],
    ),
    "team, another key": (
        lambda w: w.team.objects.filter(pk=1).update(number=3),
        [MOVED, "team:1 DELETE", "team:3 CREATE"],
    ),
    "player": (
        lambda w: w.player.objects.create(key=KEY, team_id=1),
        [f"player:{KEY} CREATE", "team.players:1 CREATE", "team:1 UPDATE"],
    ),
    "player, moved": (
        lambda w: (
            w.player.objects.create(key=KEY, team_id=1),
            forget(),
            w.player.objects.update(team_id=2),
        ),
        [
            f"player:{KEY} UPDATE",
            MOVED,
            MOVED,  # of the keeper that a player may be
            "team.players:1 DELETE",
            "team.players:2 CREATE",
            "team:1 UPDATE",
            "team:2 UPDATE",
        ],
    ),
    "player, deleted with its team": (
        lambda w: (
            w.player.objects.create(key=KEY, team_id=1),
            forget(),
            w.team.objects.get(pk=1).delete(),
        ),
        [f"player:{KEY} DELETE", MOVED, "team.players:1 DELETE", "team:1 DELETE"],
    ),
    "coach, whose key is the team's": (
        lambda w: w.coach.objects.create(team_id=1, name="a").save(),
        ["coach:1 CREATE", "team.coaches:1 CREATE"],
    ),
    "coach, another key": (
        lambda w: (
            w.coach.objects.create(team_id=1, name="a"),
            forget(),
            w.coach.objects.update(team_id=2),
        ),
        [
            "coach:1 DELETE",
            "coach:2 CREATE",
            MOVED,
            "team.coaches:1 DELETE",
            "team.coaches:2 CREATE",
        ],
    ),
    "keeper, of two tables": (
        lambda w: w.keeper.objects.create(key=KEY, team_id=1),
        [
            f"keeper:{KEY} CREATE",
            f"player:{KEY} CREATE",
            "team.keepers:1 CREATE",
            "team.players:1 CREATE",
            "team:1 UPDATE",
        ],
    ),
    "keeper, its own table": (
        lambda w: (
            w.keeper.objects.create(key=KEY, team_id=1),
            forget(),
            w.keeper.objects.update(saves=1),
        ),
        [f"keeper:{KEY} UPDATE", "team.keepers:1 UPDATE"],
    ),
    "keeper, moved by the other table": (
        lambda w: (
            w.keeper.objects.create(key=KEY, team_id=1),
            forget(),
            w.player.objects.update(team_id=None),
        ),
        [
            f"keeper:{KEY} UPDATE",
            f"player:{KEY} UPDATE",
            MOVED,
            MOVED,
            "team.keepers:1 DELETE",
            "team.players:1 DELETE",
            "team:1 UPDATE",
        ],
    ),
    "kit, by the team's code": (
        lambda w: w.kit.objects.create(colour="red", team_id="code 2"),
        ["kit:1 CREATE", "team:2 UPDATE"],
    ),
    "tag": (
        lambda w: w.team.objects.get(pk=1).tags.add(Tag.objects.create(name="a")),
        ["team:1 UPDATE"],
    ),
    "fan, by the team's code": (
        lambda w: w.team.objects.get(pk=2).fans.add(w.user),
        ["rights CREATE", "team:2 UPDATE"],
    ),
    "fan, by SQL": (
        lambda w: (
            w.fan.objects.create(team_id="code 1", user=w.user),
            forget(),
            sql("DELETE FROM library_fan"),
        ),
        ["rights DELETE", "team:1 UPDATE"],
    ),
    "fan, invited by another": (
        lambda w: (
            w.fan.objects.create(team_id="code 1", user=w.user),
            forget(),
            w.fan.objects.update(invited_by=w.user),
        ),
        ["rights UPDATE", "team:1 UPDATE"],
    ),
}


def sql(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def forget():
    """Render and delete all rows so far."""
    render_all()
    NotificationOutbox.objects.all().delete()


def test_keys(live):
    """
    Each change is announced in the streams that its keys name, and each payload is the current object's.
    """
    for name, (change, expected) in CHANGES.items():
        live.team.objects.all().delete()
        for number in (1, 2):
            live.team.objects.create(number=number, code=f"code {number}")
        forget()
        change(live)
        render_all()
        rows = NotificationOutbox.objects.order_by("stream", "id")
        assert expected == sorted(f"{row.stream} {row.event.split('_')[0]}" for row in rows), name
        for row in rows:
            if row.stream != RIGHTS and "DELETE" not in row.event:
                stored = getattr(live, row.object_type).objects.get(pk=row.object_id)
                shown = row.object_type == "team" and team_payload(None, stored)
                assert (shown or stored.team_id) == (row.payload if shown else row.payload["team"])
