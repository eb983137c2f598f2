"""The page in a real browser, against the real processes: what is on the screen is what the database has."""

import asyncio
import itertools
import json
import time

import pytest
from django.conf import settings

from apps.outbox.models import NotificationOutbox
from apps.realtime import hashids
from apps.tickets.models import Project, Ticket
from tests.rig.processes import wait_until
from tests.rig.proxy import Proxy
from tests.sockets import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="package")]

#: Notes which rows glow, for how short a time it may be.
WATCH = """() => {
    window.glowed = [];
    new MutationObserver(changes => {
        for (const {target} of changes) if (target.matches('.changed')) glowed.push(target.textContent);
    }).observe(document.querySelector('main'), {subtree: true, attributeFilter: ['class']});
    new MutationObserver(changes => {
        for (const {addedNodes} of changes)
            for (const row of addedNodes) if (row.matches?.('.changed')) glowed.push(row.textContent);
    }).observe(document.querySelector('main'), {subtree: true, childList: true});
}"""
#: What Chromium says when no server answers, or a session has ended.
LOST = ("WebSocket connection to", "ERR_")


@pytest.fixture
def both(demo, other, project, ticket):
    """demo and other are members of the project."""
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
    async def test_what_one_does_the_other_sees(self, site, visit, both):
        """
        A ticket that one adds, edits and deletes by the forms appears, changes and goes at the other's.
        """
        one, another = await visit(site, both[0]), await visit(site, both[1])
        for visitor in (one, another):
            await visitor.is_in("live")
        await another.page.evaluate(WATCH)
        await one.page.get_by_role("link", name="Add a ticket to Website").click()
        await one.page.get_by_label("Title").fill("The door squeaks <b>loudly</b>")
        await one.page.get_by_label("Assignee").select_option("other")
        started = time.perf_counter()
        await one.page.get_by_role("button", name="Save").click()
        await another.reads("The door squeaks <b>loudly</b>")
        print(f"{time.perf_counter() - started:.2f} s from a click to the other's screen")
        (glowed,) = set(await another.page.evaluate("glowed"))
        assert "The door squeaks <b>loudly</b>" in glowed
        await another.sees(both[1])
        assert "2 tickets" == await another.page.locator(".count").text_content()

        await one.page.get_by_role("link", name="Edit").click()
        await one.page.get_by_label("Status").select_option("closed")
        await one.page.get_by_label("Description").fill("Since\nMonday")
        await one.page.get_by_role("button", name="Save").click()
        await another.sees(both[1])

        await one.page.get_by_role("link", name="Edit").click()
        await one.page.get_by_role("button", name="Delete this ticket").click()
        await another.sees(both[1])
        assert "1 ticket" == await another.page.locator(".count").text_content()
        await one.is_in("live")
        await one.sees(both[0])

    async def test_a_ticket_and_its_form_are_live(self, site, visit, demo, ticket):
        """
        The ticket's own page shows what changes; its form says so, and leaves what was typed.
        """
        sheet = await visit(site, demo, address(ticket))
        form = await visit(site, demo, address(ticket, "edit/"))
        for visitor in (sheet, form):
            await visitor.is_in("live")
        assert not await form.page.locator("#meanwhile").is_visible()
        await change(ticket, title="The logo is gone", status="closed", assignee=demo)
        await sheet.reads("The logo is gone")
        facts = await sheet.page.locator("dd").all_text_contents()
        assert ["closed", "normal", "demo"] == facts[:3]
        assert "The logo is gone · Tickets" == await sheet.page.title()
        await form.reads("Changed meanwhile: The logo is gone (closed, priority normal, demo).")
        assert "The logo is blurred" == await form.page.get_by_label("Title").input_value()
        await in_thread(ticket.delete)
        for visitor in (sheet, form):
            await visitor.reads("This ticket was deleted.")

    async def test_tickets_move_and_projects_are_renamed(self, site, visit, demo, project, ticket):
        """
        A ticket that moves is shown where it is now; a project has the name that it has now.
        """
        office = await in_thread(Project.objects.create, name="Office")
        await in_thread(office.members.add, demo)
        visitor = await visit(site, demo)
        sheet = await visit(site, demo, address(ticket))
        for page in (visitor, sheet):
            await page.is_in("live")
        await change(ticket, project=office)
        await visitor.sees(demo)
        await sheet.reads("/ Office")
        office.name = "Bureau"  # still before Website
        await in_thread(office.save)
        await visitor.sees(demo)
        await in_thread(office.delete)
        await visitor.reads("Bureau was deleted.")
        await sheet.reads("This ticket was deleted.")

    async def test_what_changes_before_the_page_subscribes_is_shown(
        self, site, visit, demo, project, ticket
    ):
        """
        Between rendering and subscribing there is no gap: here a whole life of changes falls into it.
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
        await visitor.sees(demo)
        await visitor.is_in("live")


class TestOutages:
    @pytest.mark.parametrize("is_pruned", [False, True], ids=["resumed", "too late to resume"])
    async def test_daphne_killed_and_started_again(
        self, site, visit, both, project, ticket, is_pruned
    ):
        """
        The page says that it is offline; then it has what the database has, without being loaded again.
        """
        visitors = [await visit(site, user) for user in both]
        for visitor in visitors:
            visitor.expected = LOST
            await visitor.is_in("live")
        await in_thread(site.kill, "daphne")
        for visitor in visitors:
            await visitor.is_in("offline")
        await change(ticket, title="While nobody listened")
        await in_thread(Ticket.objects.create, project=project, title="New")
        await in_thread(ticket.delete)
        if is_pruned:
            pending = NotificationOutbox.objects.filter(published_at=None)
            await in_thread(wait_until, lambda: not pending.exists(), "all is published")
            await in_thread(NotificationOutbox.objects.all().delete)
        await in_thread(site.start, "daphne")
        for visitor, user in zip(visitors, both, strict=True):
            await visitor.sees(user)
            await visitor.is_in("live")
            assert 1 == await visitor.page.evaluate(
                "performance.getEntriesByType('navigation').length"
            )

    async def test_without_redis_it_stays_right(self, own_site, visit, demo, project, ticket):
        """
        With Redis away what changes is shown some seconds later, and at once again when it is back.
        """
        async with Proxy(settings.REDIS_URL) as redis:
            own_site.environment["REDIS_URL"] = redis.url
            await in_thread(own_site.start, "web", "worker", "daphne")
            visitor = await visit(own_site, demo)
            await visitor.is_in("live")
            await redis.refuse()
            await change(ticket, title="Without Redis")
            await in_thread(Ticket.objects.create, project=project, title="New")
            await visitor.sees(demo)
            assert "Live" == await visitor.page.locator("#words").text_content()
            await redis.accept()
            await change(ticket, title="With Redis")
            await visitor.sees(demo)
            await in_thread(own_site.stop, "daphne")

    async def test_the_network_goes_and_comes(self, site, visit, demo, ticket):
        """
        A browser without a network says so, and needs nobody's help when it has one again.
        """
        visitor = await visit(site, demo)
        visitor.expected = LOST
        await visitor.is_in("live")
        await visitor.context.set_offline(True)
        await visitor.is_in("offline")
        await change(ticket, title="Meanwhile")
        await visitor.context.set_offline(False)
        await visitor.sees(demo)
        await visitor.is_in("live")

    async def test_a_server_that_talks_nonsense(self, site, visit, demo, ticket):
        """
        Nonsense, and sockets that end at once, cost the page nothing but time.
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
        await visitor.is_in("offline")
        await change(ticket, title="Meanwhile")
        await visitor.sees(demo)
        await visitor.is_in("live")
        assert 3 == len(tried)
        assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(tried))

    async def test_a_change_that_could_not_be_published(self, site, visit, demo, ticket):
        """
        Of a change that is skipped the page finds out by itself what it was.
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
        await visitor.is_in("live")
        await change(ticket, title="Skipped")
        await visitor.sees(demo)

    async def test_a_server_that_refuses(self, site, visit, demo, ticket):
        """
        What a server refuses for good the page doesn't insist on; it says what can be done.
        """
        visitor = await visit(site, demo, path="")
        tried = []

        async def refuse(route):
            tried.append(route)
            await route.close(code=4400)

        await visitor.page.route_web_socket("**/ws/notifications/", refuse)
        await visitor.open("/")
        await visitor.reads("The server refuses this page")
        assert "Load again" == await visitor.page.locator("#way-out").text_content()
        assert 1 == len(tried)

    async def test_what_the_server_cant_say(self, site, visit, demo, ticket):
        """
        A fault of the server's isn't told as if a right were lost: what is shown is gone, and why is said.
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
        await visitor.reads("This list can't be followed (internal). Load the page again")
        assert [["Website", []]] == await visitor.seen()


class TestRights:
    async def test_who_is_removed_sees_nothing_more(self, site, visit, both, project, ticket):
        """
        The page says so, and what changes then is not shown.
        """
        demo, other = both
        removed, member = await visit(site, other), await visit(site, demo)
        sheet = await visit(site, other, address(ticket))
        for visitor in (removed, member, sheet):
            await visitor.is_in("live")
        await in_thread(project.members.remove, other)
        await removed.reads("You can't see Website any more.")
        await sheet.reads("You can't see this ticket any more.")
        await change(ticket, title="Secret")
        await member.sees(demo)
        assert [] == await removed.seen()
        for visitor in (removed, sheet):
            assert "blurred" not in await visitor.page.locator("main").inner_text()
            assert "Secret" not in await visitor.page.content()

    async def test_a_session_ends_and_another_begins(self, site, visit, demo, ticket):
        """
        The page says that it is signed out, and how to sign in; who did so elsewhere just comes back.
        """
        visitor = await visit(site, demo)
        visitor.expected = LOST
        await visitor.is_in("live")
        elsewhere = await visitor.context.new_page()
        await elsewhere.goto("/")
        await elsewhere.get_by_role("button", name="Sign out").click()
        await visitor.reads("Signed out")
        assert "/sign-in/?next=/" == await visitor.page.locator("#way-out").get_attribute("href")
        await change(ticket, title="Meanwhile")
        await visitor.sign_in(demo)
        await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await visitor.is_in("live")
        await visitor.sees(demo)

    async def test_what_was_typed_outlives_a_session(self, site, visit, settings, demo, project):
        """
        Who signs in again in another tab may still send the form that was open before.
        """
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
        demo.set_password("demo")  # so that the real processes know it
        await in_thread(demo.save)
        add = f"/projects/{hashids.encode('project', project.pk)}/add/"
        visitor = await visit(site, demo, add)
        visitor.expected = LOST
        await visitor.is_in("live")
        await visitor.page.get_by_label("Title").fill("Typed before")
        elsewhere = await visitor.context.new_page()
        await elsewhere.goto("/")
        await elsewhere.get_by_role("button", name="Sign out").click()
        await visitor.is_in("signed-out")
        for label in ("Name", "Password"):
            await elsewhere.get_by_label(label).fill("demo")
        await elsewhere.get_by_role("button", name="Sign in").click()
        await elsewhere.wait_for_selector("#state[data-state=live]")
        await visitor.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        await visitor.is_in("live")
        await visitor.page.get_by_role("button", name="Save").click()
        await visitor.page.get_by_role("heading", name="Typed before").wait_for()

    async def test_somebody_elses_session(self, site, visit, both):
        """
        A page that was made for one user isn't fed with what another one may see.
        """
        visitor = await visit(site, both[0])
        await visitor.is_in("live")
        await visitor.sign_in(both[1])
        visitor.expected = LOST
        await in_thread(site.kill, "daphne")
        await in_thread(site.start, "daphne")
        await visitor.reads("Signed in as somebody else")
        await visitor.page.get_by_role("link", name="Load again").click()
        await visitor.is_in("live")
        await visitor.sees(both[1])

    async def test_signing_in_and_out(self, site, visit, settings, demo, ticket):
        """
        Who isn't signed in is asked to, and told if that was wrong; who signs out is asked again.
        """
        settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]
        demo.set_password("demo")  # so that the real processes know it
        await in_thread(demo.save)
        visitor = await visit(site)
        for password in ("wrong", "demo"):
            await visitor.page.get_by_label("Name").fill("demo")
            await visitor.page.get_by_label("Password").fill(password)
            await visitor.page.get_by_role("button", name="Sign in").click()
            if password == "wrong":
                await visitor.reads("Please enter a correct username and password.")
        await visitor.is_in("live")
        await visitor.sees(demo)
        await visitor.page.get_by_role("button", name="Sign out").click()
        await visitor.page.get_by_role("heading", name="Sign in").wait_for()
