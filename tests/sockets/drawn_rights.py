"""Rights that random transactions end and begin, and which objects each user could see at each commit."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.db import connection, connections, transaction
from rest_framework.authtoken.models import Token

from apps.tickets.live import ProjectType, TicketType
from apps.tickets.models import Project, Ticket
from pillarbox.capture.announce import announce

HIDDEN, SHOWN = "Hidden", "Shown"


class DrawnProjects(ProjectType):
    """
    A type of projects that are visible to members with a permission, except while they have a certain name.
    """

    visibility_fields = ("name",)

    def visible_to(self, user):
        visible = super().visible_to(user).exclude(name=HIDDEN)
        return visible if user.has_perm("tickets.view_ticket") else visible.none()


class DrawnTickets(TicketType):
    """A type of the tickets of such projects."""

    def visible_to(self, user):
        visible = super().visible_to(user).exclude(project__name=HIDDEN)
        return visible if user.has_perm("tickets.view_ticket") else visible.none()


@dataclass(frozen=True)
class Moment:
    """The state at the commit of a transaction."""

    #: How many transactions of the world had been committed before.
    number: int
    #: The streams that each user could see.
    visible: dict[Any, set[str]]
    #: Keys of tokens, and of sessions.
    credentials: set[str]
    passwords: dict[Any, str]


class World:
    """
    Users, projects and tickets that random transactions change.

    Both ``users`` have the permission, each in a different way; the first one has it by a group. The last
    project and the last ticket are changed by transactions that stay open while others are committed.
    """

    def __init__(self, seed, users, projects, tickets):
        self.random = random.Random(f"rights {seed}")
        self.users, self.tickets, self.projects = users, tickets[:-1], projects[:-1]
        self.late_project, self.late_ticket = projects[-1], tickets[-1]
        #: When each title was committed. Each change writes a title that no other one has.
        self.moments: dict[str, Moment] = {}
        #: How many titles there are, and how many transactions were committed.
        self.titles = self.committed = 0
        #: The titles of the current transaction, and that of the one that stays open.
        self.new: list[str] = []
        self.late_title = ""
        self._late = ThreadPoolExecutor(1)
        takes = [
            *(3 * [self.take]),
            *(self.leave_group, self.lose_permission, self.delete_group, self.disable),
            *(self.delete_user, self.change_password, self.revoke_token, self.end_sessions),
            *(self.hide, self.use_key_again),
        ]
        self.random.shuffle(takes)
        #: Each of them comes in turn, so that no kind is left out.
        self.takes = cycle(takes)

    def change(self):
        """Commit one to three random changes in one transaction."""
        changes = (*(2 * [self.draw_take]), *(4 * [self.give_all]), *(5 * [self.rename]))
        changes += (self.move, self.announce_title)
        with transaction.atomic():
            for change in self.random.choices(changes, k=self.random.choice((1, 1, 2, 3))):
                change()
            self.record()

    def restore(self):
        """Give all rights back to all users, and change each ticket afterwards."""
        with transaction.atomic():
            for user in self.users:
                for project in (*self.projects, self.late_project):
                    self.give(user, project)
            self.record()
        for ticket in (*self.tickets, self.late_ticket):
            with transaction.atomic():
                self.write(ticket)
                self.record()

    # Rights end

    def draw_take(self):
        next(self.takes)(self.random.choice(self.users), self.random.choice(self.projects))

    def take(self, user, project):
        project.members.remove(user)

    def leave_group(self, user, project):
        user.groups.clear()
        user.user_permissions.clear()

    def lose_permission(self, user, project):
        for group in Group.objects.all():
            group.permissions.clear()

    def delete_group(self, user, project):
        Group.objects.all().delete()

    def disable(self, user, project):
        get_user_model().objects.filter(pk=user.pk).update(is_active=False)

    def delete_user(self, user, project):
        # While a transaction is open, the deletion would wait for it because of a membership.
        keys = [] if self.is_late_open else [user.pk]
        get_user_model().objects.filter(pk__in=keys).delete()

    def change_password(self, user, project):
        for found in get_user_model().objects.filter(pk=user.pk):
            found.set_password(f"{self.committed}")
            found.save()

    def revoke_token(self, user, project):
        Token.objects.filter(user=user.pk).delete()

    def end_sessions(self, user, project):
        Session.objects.all().delete()

    def hide(self, user, project):
        Project.objects.filter(pk=project.pk).update(name=HIDDEN)

    def use_key_again(self, user, project):
        """Delete a project, and create another one with its key, to which its tickets then belong."""
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM tickets_project_members WHERE project_id = %s", [project.pk]
            )
            cursor.execute("DELETE FROM tickets_project WHERE id = %s", [project.pk])
        Project.objects.create(pk=project.pk, name=SHOWN)

    # Rights begin again

    def give_all(self):
        self.give(self.random.choice(self.users), self.random.choice(self.projects))

    def give(self, user, project):
        """Give a user all rights that are needed to see a project's tickets."""
        users, groups = get_user_model().objects, Group.objects
        users.get_or_create(
            pk=user.pk, defaults={"username": user.username, "password": user.password}
        )
        users.filter(pk=user.pk, is_active=False).update(is_active=True)
        may_view = Permission.objects.get(codename="view_ticket")
        if user == self.users[0]:
            group, _ = groups.get_or_create(name="readers")
            group.permissions.add(may_view)
            user.groups.add(group)
        else:
            user.user_permissions.add(may_view)
        project.members.add(user)
        Project.objects.filter(pk=project.pk, name=HIDDEN).update(name=SHOWN)

    # Changes

    def rename(self):
        self.write(self.random.choice(self.tickets))

    def move(self):
        pk, project = self.random.choice(self.tickets).pk, self.random.choice(self.projects)
        Ticket.objects.filter(pk=pk).update(project=project, title=self.title())

    def announce_title(self):
        """Announce a title explicitly: the row needs no rendering, and names no transaction."""
        ticket = Ticket.objects.get(pk=self.random.choice(self.tickets).pk)
        announce(ticket, "TOLD", {"title": self.title()})

    def write(self, ticket):
        Ticket.objects.filter(pk=ticket.pk).update(title=self.title())

    def title(self):
        self.titles += 1
        self.new.append(f"{self.titles}")
        return self.new[-1]

    @property
    def is_late_open(self):
        return bool(self.late_title)

    # A transaction that stays open

    def toggle_late(self):
        """Begin a transaction that changes the last ticket and perhaps ends a right; or commit it."""
        self._late.submit(self._commit_late if self.is_late_open else self._begin_late).result()

    def end(self):
        """Commit the transaction that is still open, if there is one."""
        self._late.submit(self._commit_late if self.is_late_open else int).result()
        self._late.shutdown()

    def _begin_late(self):
        transaction.set_autocommit(False)
        self.write(self.late_ticket)
        self.late_project.members.remove(self.random.choice(self.users))
        self.late_title = self.new.pop()

    def _commit_late(self):
        self.new, self.late_title = [self.late_title], ""
        self.record()
        transaction.commit()
        connections.close_all()

    # Records

    def record(self):
        """Record the state in the current transaction, which must be the last one to be committed so far."""
        users = get_user_model().objects.in_bulk([user.pk for user in self.users])
        moment = Moment(
            number=self.committed,
            visible={pk: _visible_to(user) for pk, user in users.items() if user.is_active},
            credentials={
                *Token.objects.values_list("key", flat=True),
                *Session.objects.values_list("session_key", flat=True),
            },
            passwords={pk: user.password for pk, user in users.items()},
        )
        self.moments |= dict.fromkeys(self.new, moment)
        self.new = []
        self.committed += 1


def _visible_to(user):
    """Return the streams that a user may see."""
    tickets = DrawnTickets().visible_to(user).values_list("pk", flat=True)
    projects = DrawnProjects().visible_to(user).values_list("pk", flat=True)
    return {*(f"ticket:{pk}" for pk in tickets), *(f"project.tickets:{pk}" for pk in projects)}
