"""What the page is for whoever uses it: with a keyboard, a screen reader, a telephone, in the dark."""

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from django.db import transaction

from apps.realtime import hashids
from apps.tickets.models import Ticket
from tests.sockets import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="package")]

AXE = AXE_FILE_PATH.read_text()
RULES = """() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
    .then(({violations}) => violations.map(({id, nodes}) => [id, nodes.map(({html}) => html)]))"""
#: How far the page has moved, by itself, what was on the screen.
SHIFTS = """() => new Promise(resolve => new PerformanceObserver(list => resolve(
    list.getEntries().reduce((sum, entry) => sum + entry.value, 0)
)).observe({type: 'layout-shift', buffered: true}) || setTimeout(resolve, 200, 0))"""
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "reduced_motion": "reduce"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
async def test_nothing_keeps_anybody_out(site, visit, demo, project, ticket, look):
    """
    No page breaks a rule of WCAG that a program can find, scrolls sideways, or moves while it loads.
    """
    long = {"title": "W" * 200, "priority": 3, "status": "in_progress", "assignee": demo}
    await in_thread(Ticket.objects.create, project=project, **long)
    visitor = await visit(site, path="/sign-in/", **LOOKS[look])
    await look_at(visitor)
    await visitor.sign_in(demo)
    address = f"/tickets/{hashids.encode('ticket', ticket.pk)}/"
    add = f"/projects/{hashids.encode('project', project.pk)}/add/"
    for path in ("/", address, f"{address}edit/", add):
        await visitor.open(path)
        await visitor.is_in("live")
        assert 0.01 > await visitor.page.evaluate(SHIFTS), path
        await visitor.page.get_by_text("What the socket says").click()
        await look_at(visitor)


async def look_at(visitor):
    page = visitor.page
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
    await page.evaluate(AXE)
    assert [] == await page.evaluate(RULES), page.url


async def test_with_a_keyboard(site, visit, demo, project, ticket):
    """
    The first key leads past the head of the page; a row that goes leaves whoever stood there at the next one.
    """
    second = await in_thread(Ticket.objects.create, project=project, title="Second")
    visitor = await visit(site, demo)
    page = visitor.page
    await visitor.is_in("live")
    await page.keyboard.press("Tab")
    assert "Skip to the content" == await focused(page)
    await page.keyboard.press("Enter")
    for _ in range(2):
        await page.keyboard.press("Tab")
    assert "The logo is blurred" == await focused(page)
    await in_thread(ticket.delete)
    await visitor.sees(demo)
    assert "Second" == await focused(page)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/{hashids.encode('ticket', second.pk)}/")


async def test_who_stands_at_what_goes_stands_somewhere(site, visit, demo, other, project, ticket):
    """
    The last row of a list, and a ticket that one is let out of, leave the keyboard where the page begins.
    """
    await in_thread(project.members.add, other)
    listed, sheet = await visit(site, demo), await visit(site, other, ticket_page(ticket))
    for visitor in (listed, sheet):
        await visitor.is_in("live")
    await listed.page.get_by_role("link", name="The logo is blurred").focus()
    await sheet.page.get_by_role("link", name="Edit").focus()
    await in_thread(project.members.remove, other)
    await sheet.reads("You can't see this ticket any more.")
    await in_thread(ticket.delete)
    await listed.reads("There is no ticket yet.")
    for visitor in (listed, sheet):
        assert "content" == await visitor.page.evaluate("document.activeElement.id")


def ticket_page(ticket):
    return f"/tickets/{hashids.encode('ticket', ticket.pk)}/"


async def focused(page):
    return await page.evaluate("document.activeElement.textContent")


async def test_changes_are_told_in_a_sentence(site, visit, demo, project, ticket):
    """
    Who doesn't see the rows is told what changes: some changes one by one, many as a number.
    """
    visitor = await visit(site, demo)
    await visitor.is_in("live")
    await in_thread(change_four_times, ticket)
    news = visitor.page.locator("#news")
    await news.filter(has_text="Number").wait_for(state="attached")
    assert "4 changes. The last: Number 3: open." == await news.text_content()


async def test_what_is_not_to_be_seen_is_no_news(site, visit, demo, project, ticket):
    """
    What has changed where the list doesn't show it isn't read out; nor is a present that is as it was.
    """
    visitor = await visit(site, demo)
    await visitor.is_in("live")
    await visitor.page.clock.install()
    for title, description in [("The logo is blurred", "Since Monday"), ("The logo is gone", "")]:
        ticket.title, ticket.description = title, description
        await in_thread(ticket.save)
    await visitor.reads("The logo is gone")
    await visitor.page.clock.run_for(6000)
    assert "The logo is gone: open." == await visitor.page.locator("#news").text_content()


@transaction.atomic
def change_four_times(ticket):
    for number in range(4):
        ticket.title = f"Number {number}"
        ticket.save()


async def test_no_script_but_the_pages_own(site, visit, demo, ticket):
    """
    What a ticket says is text; a script or a style that got into the page would be refused.
    """
    ticket.title = (
        "<script>document.title = 'Taken'</script><img src=x onerror=\"document.title='Taken'\">"
    )
    await in_thread(ticket.save)
    visitor = await visit(site, demo)
    await visitor.is_in("live")
    await visitor.sees(demo)
    ticket.title += "!"
    await in_thread(ticket.save)
    await visitor.sees(demo)
    visitor.expected = ("Content Security Policy",)
    await visitor.page.evaluate(
        """() => {
            const script = document.createElement('script');
            const policy = trustedTypes.createPolicy('test', {createScript: text => text});
            script.text = policy.createScript("document.title = 'Taken'");
            document.body.append(script);
            const style = document.createElement('style');
            style.textContent = 'body { display: none }';
            document.body.append(style);
        }"""
    )
    assert "Tickets" == await visitor.page.title()
    assert await visitor.page.locator("h2").is_visible()


async def test_the_curious_see_the_frames(site, visit, demo, ticket):
    """
    What the socket says is shown as it is, the latest first.
    """
    visitor = await visit(site, demo)
    await visitor.is_in("live")
    await visitor.page.get_by_text("What the socket says").click()
    ticket.title = "Shown"
    await in_thread(ticket.save)
    await visitor.reads('"type":"UPDATE_TICKET"')
    first = visitor.page.locator("#frame-list li")
    assert ["server", "page"] == [
        await first.nth(0).get_attribute("data-way"),
        await first.nth(-2).get_attribute("data-way"),
    ]
    assert '"type":"hello"' in await first.nth(-1).text_content()
