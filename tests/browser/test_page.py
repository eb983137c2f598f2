"""Tests of the page in a real browser with the real processes: it shows what the database has."""

import asyncio
import itertools
import json
import time

import pytest
from django.conf import settings

from apps.tickets.models import Project, Ticket
from pillarbox.models import NotificationOutbox
from pillarbox.types import hashids
from tests.communicators import in_thread
from tests.rig.proxy import Proxy
from tests.waiting import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="package")]

#: Records which rows are highlighted, however briefly.
WATCH = """() => {
    window.highlighted = [];
    new MutationObserver(changes => {
        for (const {target} of changes) if (target.matches('.changed')) highlighted.push(target.textContent);
    }).observe(document.querySelector('main'), {subtree: true, attributeFilter: ['class']});
    new MutationObserver(changes => {
        for (const {addedNodes} of changes)
            for (const row of addedNodes) if (row.matches?.('.changed')) highlighted.push(row.textContent);
    }).observe(document.querySelector('main'), {subtree: true, childList: true});
}"""
#: Messages of Chromium when no server answers, or a session has ended.
LOST = ("WebSocket connection to", "ERR_")


@pytest.fixture
def both(demo, other, project, ticket):
    """Make demo and other members of the project, and return them."""
    project.members.add(other)
    return demo, other


async def change(ticket, **values):
    """Change a ticket."""
    for name, value in values.items():
        setattr(ticket, name, value)
    await in_thread(ticket.save)


def address(ticket, action=""):
    return f"/tickets/{hashids.encode('ticket', ticket.pk)}/{action}"


class TestLive:
    async def test_changes_of_one_user_are_shown_to_another(self, site, visit, both):
        """
        One user adds, edits and deletes a ticket by the forms; the other user's page shows it.
        """
        one, another = await visit(site, both[0]), await visit(site, both[1])
        for visitor in (one, another):
            await visitor.wait_for_state("live")
        await another.page.evaluate(WATCH)
        await one.page.get_by_role("link", name="Add a ticket to Website").click()
        await one.page.get_by_label("Title").fill("The door squeaks <b>loudly</b>")
        await one.page.get_by_label("Assignee").select_option("other")
        started = time.perf_counter()
        await one.page.get_by_role("button", name="Save").click()
        await another.wait_for_text("The door squeaks <b>loudly</b>")
        print(f"{time.perf_counter() - started:.2f} s from a click to the other's screen")
        (highlighted,) = set(await another.page.evaluate("highlighted"))
        assert "The door squeaks <b>loudly</b>" in highlighted
        await another.wait_for_list_of(both[1])
        assert "2 tickets" == await another.page.locator(".count").text_content()

        await one.page.get_by_role("link", name="Edit").click()
        await one.page.get_by_label("Status").select_option("closed")
        await one.page.get_by_label("Description").fill("Since\nMonday")
        await one.page.get_by_role("button", name="Save").click()
        await another.wait_for_list_of(both[1])

        await one.page.get_by_role("link", name="Edit").click()
        await one.page.get_by_role("button", name="Delete this ticket").click()
        await another.wait_for_list_of(both[1])
        assert "1 ticket" == await another.page.locator(".count").text_content()
        await one.wait_for_state("live")
        await one.wait_for_list_of(both[0])

    async def test_a_ticket_and_its_form_are_live(self, site, visit, demo, ticket):
        """
        The ticket's own page shows changes. Its form mentions them, and keeps the user's input.
        """
        sheet = await visit(site, demo, address(ticket))
        form = await visit(site, demo, address(ticket, "edit/"))
        for visitor in (sheet, form):
            await visitor.wait_for_state("live")
        assert not await form.page.locator("#meanwhile").is_visible()
        await change(ticket, title="The logo is gone", status="closed", assignee=demo)
        await sheet.wait_for_text("The logo is gone")
        facts = await sheet.page.locator("dd").all_text_contents()
        assert ["closed", "normal", "demo"] == facts[:3]
        assert "The logo is gone · Tickets" == await sheet.page.title()
        await form.wait_for_text(
            "Changed meanwhile: The logo is gone (closed, priority normal, demo)."
        )
        assert "The logo is blurred" == await form.page.get_by_label("Title").input_value()
        await in_thread(ticket.delete)
        for visitor in (sheet, form):
            await visitor.wait_for_text("This ticket was deleted.")

    async def test_tickets_move_and_projects_are_renamed(self, site, visit, demo, project, ticket):
        """
        The page shows a moved ticket in its new project, and a renamed project by its new name.
        """
        office = await in_thread(Project.objects.create, name="Office")
        await in_thread(office.members.add, demo)
        visitor = await visit(site, demo)
        sheet = await visit(site, demo, address(ticket))
        for page in (visitor, sheet):
            await page.wait_for_state("live")
        await change(ticket, project=office)
        await visitor.wait_for_list_of(demo)
        await sheet.wait_for_text("/ Office")
        office.name = "Bureau"  # still before Website
        await in_thread(office.save)
        await visitor.wait_for_list_of(demo)
        await in_thread(office.delete)
        await visitor.wait_for_text("Bureau was deleted.")
        await sheet.wait_for_text("This ticket was deleted.")

    async def test_an_assignee_is_renamed(self, site, visit, demo, other, ticket):
        """
        The list and the ticket's page show an assignee's new name.
        """
        await change(ticket, assignee=other)
        visitor = await visit(site, demo)
        sheet = await visit(site, demo, address(ticket))
        for page in (visitor, sheet):
            await page.wait_for_state("live")
        other.username = "grace"
        await in_thread(other.save)
        await visitor.wait_for_list_of(demo)
        await sheet.wait_for_text("grace")

    async def test_changes_before_the_subscription_are_shown(
        self, site, visit, demo, project, ticket
    ):
        """
        Changes between rendering and subscribing aren't lost, even a creation and a deletion.
        """
        visitor = await visit(site, demo, path="")
        rendered, go_on = asyncio.Event(), asyncio.Event()

        async def hold(route):
            rendered.set()
            await go_on.wait()
            await route.continue_()

        await visitor.page.route("**/page.js", hold)
        opening = asyncio.create_task(visitor.open("/"))
        await rendered.wait()
        await in_thread(Ticket.objects.create, project=project, title="New")
        await change(ticket, title="Changed", priority=3)
        gone = await in_thread(Ticket.objects.create, project=project, title="Short-lived")
        await in_thread(gone.delete)
        go_on.set()
        await opening
        await visitor.wait_for_list_of(demo)
        await visitor.wait_for_state("live")


class TestOutages:
    @pytest.mark.parametrize("is_pruned", [False, True], ids=["resumed", "too late to resume"])
    async def test_daphne_killed_and_started_again(
        self, site, visit, both, project, ticket, is_pruned
    ):
        """
        The page says that it is offline. Later it has what the database has, without a reload.
        """
        visitors = [await visit(site, user) for user in both]
        for visitor in visitors:
            visitor.expected = LOST
            await visitor.wait_for_state("live")
        await in_thread(site.kill, "daphne")
        for visitor in visitors:
            await visitor.wait_for_state("offline")
        await change(ticket, title="While nobody listened")
        await in_thread(Ticket.objects.create, project=project, title="New")
        await in_thread(ticket.delete)
        if is_pruned:
            pending = NotificationOutbox.objects.filter(published_at=None)
            await in_thread(wait_until, lambda: not pending.exists(), "all is published")
            await in_thread(NotificationOutbox.objects.all().delete)
        await in_thread(site.start, "daphne")
        for visitor, user in zip(visitors, both, strict=True):
            await visitor.wait_for_list_of(user)
            await visitor.wait_for_state("live")
            assert 1 == await visitor.page.evaluate(
                "performance.getEntriesByType('navigation').length"
            )

    async def test_without_redis_it_stays_right(self, own_site, visit, demo, project, ticket):
        """
        While Redis is down, changes are shown some seconds later. Once it is back, they are shown at once.
        """
        async with Proxy(settings.REDIS_URL) as redis:
            own_site.environment["REDIS_URL"] = redis.url
            await in_thread(own_site.start, "web", "worker", "daphne")
            visitor = await visit(own_site, demo)
            await visitor.wait_for_state("live")
            await redis.refuse()
            await change(ticket, title="Without Redis")
            await in_thread(Ticket.objects.create, project=project, title="New")
            await visitor.wait_for_list_of(demo)
            assert "Live" == await visitor.page.locator("#words").text_content()
            await redis.accept()
            await change(ticket, title="With Redis")
            await visitor.wait_for_list_of(demo)
            visitor.expected = LOST  # the page tries to connect again
            await in_thread(own_site.stop, "daphne")

    async def test_the_network_goes_and_comes(self, site, visit, demo, ticket):
        """
        Without a network, the page says that it is offline. It recovers by itself.
        """
        visitor = await visit(site, demo)
        visitor.expected = LOST
        await visitor.wait_for_state("live")
        await visitor.context.set_offline(True)
        await visitor.wait_for_state("offline")
        await change(ticket, title="Meanwhile")
        await visitor.context.set_offline(False)
        await visitor.wait_for_list_of(demo)
        await visitor.wait_for_state("live")

    async def test_a_server_that_sends_nonsense(self, site, visit, demo, ticket):
        """
        Nonsense, and sockets that end at once, only delay the page.
        """
        visitor = await visit(site, demo, path="")
        tried = []

        async def talk(route):
            tried.append(time.perf_counter())
            if len(tried) == 1:
                route.send("<html>Bad gateway</html>")
            elif len(tried) == 2:
                await route.close(code=4999)
            else:
                route.connect_to_server()

        await visitor.page.route_web_socket("**/ws/notifications/", talk)
        await visitor.open("/")
        await visitor.wait_for_state("offline")
        await change(ticket, title="Meanwhile")
        await visitor.wait_for_list_of(demo)
        await visitor.wait_for_state("live")
        assert 3 == len(tried)
        assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(tried))

    async def test_a_change_that_could_not_be_published(self, site, visit, demo, ticket):
        """
        After a skipped notification, the page loads the current state by itself.
        """
        visitor = await visit(site, demo, path="")

        def skip(frame):
            left = {name: frame[name] for name in frame if name not in ("payload", "at")}
            return left | {"type": "skipped"} if frame["type"] == "UPDATE_TICKET" else frame

        async def stand_between(route):
            server = route.connect_to_server()
            server.on_message(lambda text: route.send(json.dumps(skip(json.loads(text)))))

        await visitor.page.route_web_socket("**/ws/notifications/", stand_between)
        await visitor.open("/")
        await visitor.wait_for_state("live")
        await change(ticket, title="Skipped")
        await visitor.wait_for_list_of(demo)

    async def test_a_server_that_refuses(self, site, visit, demo, ticket):
        """
        If the server refuses the page for good, it doesn't try again, and says what the user can do.
        """
        visitor = await visit(site, demo, path="")
        tried = []

        async def refuse(route):
            tried.append(route)
            await route.close(code=4400)

        await visitor.page.route_web_socket("**/ws/notifications/", refuse)
        await visitor.open("/")
        await visitor.wait_for_text("The server refuses this page")
        assert "Reload" == await visitor.page.locator("#way-out").text_content()
        assert 1 == len(tried)

    async def test_a_fault_of_the_server(self, site, visit, demo, ticket):
        """
        A fault of the server isn't shown as a lost right: the page hides the list and shows the reason.
        """
        visitor = await visit(site, demo, path="")

        def fail(frame):
            if frame["type"] != "subscribed" or frame["object_type"] != "project.tickets":
                return frame
            answered = {name: frame[name] for name in ("ref", "index")}
            return {"type": "error", "code": "internal", "temporary": False, **answered}

        async def stand_between(route):
            server = route.connect_to_server()
            server.on_message(lambda text: route.send(json.dumps(fail(json.loads(text)))))

        await visitor.page.route_web_socket("**/ws/notifications/", stand_between)
        await visitor.open("/")
        await visitor.wait_for_text("This list can't be followed (internal). Reload the page")
        assert [["Website", []]] == await visitor.shown_list()


class TestRights:
    async def test_a_removed_member_sees_nothing_more(self, site, visit, both, project, ticket):
        """
        The page says that the right is lost, and doesn't show later changes.
        """
        demo, other = both
        removed, member = await visit(site, other), await visit(site, demo)
        sheet = await visit(site, other, address(ticket))
        for visitor in (removed, member, sheet):
            await visitor.wait_for_state("live")
        await in_thread(project.members.remove, other)
        await removed.wait_for_text("You can't see Website any more.")
        await sheet.wait_for_text("You can't see this ticket any more.")
        await change(ticket, title="Secret")
        await member.wait_for_list_of(demo)
        assert [] == await removed.shown_list()
        for visitor in (removed, sheet):
            assert "blurred" not in await visitor.page.locator("main").inner_text()
            assert "Secret" not in await visitor.page.content()

    async def test_a_session_ends_and_another_begins(self, site, visit, demo, ticket):
        """
        The page says that it is signed out, and how to sign in. It recovers if the user signs in elsewhere.
        """
        visitor = await visit(site, demo)
        visitor.expected = LOST
        await visitor.wait_for_state("live")
        elsewhere = await visitor.context.new_page()
        await elsewhere.goto("/")
        await elsewhere.get_by_role("button", name="Sign out").click()
        await visitor.wait_for_text("Signed out")
        assert "/sign-in/?next=/" == await visitor.page.locator("#way-out").get_attribute("href")
        await change(ticket, title="Meanwhile")
        await visitor.sign_in(demo)
        await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await visitor.wait_for_state("live")
        await visitor.wait_for_list_of(demo)

    async def test_input_outlives_a_session(self, site, visit, settings, demo, project):
        """
        After signing in again in another tab, the user can still submit a form that was open before.
        """
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
        demo.set_password("demo")  # the real processes can check only this hash
        await in_thread(demo.save)
        add = f"/projects/{hashids.encode('project', project.pk)}/add/"
        visitor = await visit(site, demo, add)
        visitor.expected = LOST
        await visitor.wait_for_state("live")
        await visitor.page.get_by_label("Title").fill("Typed before")
        elsewhere = await visitor.context.new_page()
        await elsewhere.goto("/")
        await elsewhere.get_by_role("button", name="Sign out").click()
        await visitor.wait_for_state("signed-out")
        for label in ("Name", "Password"):
            await elsewhere.get_by_label(label).fill("demo")
        await elsewhere.get_by_role("button", name="Sign in").click()
        await elsewhere.wait_for_selector("#state[data-state=live]")
        await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await visitor.wait_for_state("live")
        await visitor.page.get_by_role("button", name="Save").click()
        await visitor.page.get_by_role("heading", name="Typed before").wait_for()

    async def test_another_users_session(self, site, visit, both):
        """
        A page rendered for one user doesn't receive another user's notifications.
        """
        visitor = await visit(site, both[0])
        await visitor.wait_for_state("live")
        await visitor.sign_in(both[1])
        visitor.expected = LOST
        await in_thread(site.kill, "daphne")
        await in_thread(site.start, "daphne")
        await visitor.wait_for_text("Signed in as another user")
        await visitor.page.get_by_role("link", name="Reload").click()
        await visitor.wait_for_state("live")
        await visitor.wait_for_list_of(both[1])

    async def test_signing_in_and_out(self, site, visit, settings, demo, ticket):
        """
        Visitors are asked to sign in, and see an error after wrong credentials. Users who sign out are, too.
        """
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
        demo.set_password("demo")  # the real processes can check only this hash
        await in_thread(demo.save)
        visitor = await visit(site)
        for password in ("wrong", "demo"):
            await visitor.page.get_by_label("Name").fill("demo")
            await visitor.page.get_by_label("Password").fill(password)
            await visitor.page.get_by_role("button", name="Sign in").click()
            if password == "wrong":
                await visitor.wait_for_text("Please enter a correct username and password.")
        await visitor.wait_for_state("live")
        await visitor.wait_for_list_of(demo)
        await visitor.page.get_by_role("button", name="Sign out").click()
        await visitor.page.get_by_role("heading", name="Sign in").wait_for()
