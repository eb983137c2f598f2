"""Tests of the page's accessibility: by keyboard and screen reader, on small screens, in a dark theme."""

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from django.db import transaction

from apps.tickets.models import Ticket
from pillarbox.types import hashids
from tests.communicators import in_thread

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="package")]

AXE = AXE_FILE_PATH.read_text()
RULES = """() => axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
    .then(({violations}) => violations.map(({id, nodes}) => [id, nodes.map(({html}) => html)]))"""
#: The page's layout shifts so far, as a sum.
SHIFTS = """() => new Promise(resolve => new PerformanceObserver(list => resolve(
    list.getEntries().reduce((sum, entry) => sum + entry.value, 0)
)).observe({type: 'layout-shift', buffered: true}) || setTimeout(resolve, 200, 0))"""
LOOKS = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark", "reduced_motion": "reduce"},
    "narrow": {"viewport": {"width": 360, "height": 740}, "has_touch": True},
}


@pytest.mark.parametrize("look", LOOKS)
async def test_pages_are_accessible(site, visit, demo, project, ticket, look):
    """
    No page breaks a rule of WCAG that axe can check, scrolls sideways, or shifts its layout while loading.
    """
    long = {"title": "W" * 200, "priority": 3, "status": "in_progress", "assignee": demo}
    await in_thread(Ticket.objects.create, project=project, **long)
    visitor = await visit(site, path="/sign-in/", **LOOKS[look])
    await check_page(visitor)
    await visitor.sign_in(demo)
    address = f"/tickets/{hashids.encode('ticket', ticket.pk)}/"
    add = f"/projects/{hashids.encode('project', project.pk)}/add/"
    for path in ("/", address, f"{address}edit/", add):
        await visitor.open(path)
        await visitor.wait_for_state("live")
        assert 0.01 > await visitor.page.evaluate(SHIFTS), path
        await visitor.page.get_by_text("Frames on the socket").click()
        await check_page(visitor)


async def check_page(visitor):
    page = visitor.page
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
    await page.evaluate(AXE)
    assert [] == await page.evaluate(RULES), page.url


async def test_with_a_keyboard(site, visit, demo, project, ticket):
    """
    The first Tab leads to a link past the head of the page. If a focused row goes, the next row is focused.
    """
    second = await in_thread(Ticket.objects.create, project=project, title="Second")
    visitor = await visit(site, demo)
    page = visitor.page
    await visitor.wait_for_state("live")
    await page.keyboard.press("Tab")
    assert "Skip to the content" == await focused(page)
    await page.keyboard.press("Enter")
    for _ in range(2):
        await page.keyboard.press("Tab")
    assert "The logo is blurred" == await focused(page)
    await in_thread(ticket.delete)
    await visitor.wait_for_list_of(demo)
    assert "Second" == await focused(page)
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/{hashids.encode('ticket', second.pk)}/")


async def test_the_focus_is_kept_if_its_element_goes(site, visit, demo, other, project, ticket):
    """
    If the last row of a list goes, or the right to see a ticket, the content of the page has the focus.
    """
    await in_thread(project.members.add, other)
    listed, sheet = await visit(site, demo), await visit(site, other, ticket_page(ticket))
    for visitor in (listed, sheet):
        await visitor.wait_for_state("live")
    await listed.page.get_by_role("link", name="The logo is blurred").focus()
    await sheet.page.get_by_role("link", name="Edit").focus()
    await in_thread(project.members.remove, other)
    await sheet.wait_for_text("You can't see this ticket any more.")
    await in_thread(ticket.delete)
    await listed.wait_for_text("No tickets yet.")
    for visitor in (listed, sheet):
        assert "content" == await visitor.page.evaluate("document.activeElement.id")


def ticket_page(ticket):
    return f"/tickets/{hashids.encode('ticket', ticket.pk)}/"


async def focused(page):
    return await page.evaluate("document.activeElement.textContent")


async def test_changes_are_announced_to_screen_readers(site, visit, demo, project, ticket):
    """
    The page has a sentence for screen readers: a few changes one by one, many as a number.
    """
    visitor = await visit(site, demo)
    await visitor.wait_for_state("live")
    await in_thread(change_four_times, ticket)
    news = visitor.page.locator("#news")
    await news.filter(has_text="Number").wait_for(state="attached")
    assert "4 changes. The last: Number 3: open." == await news.text_content()


async def test_invisible_changes_are_not_announced(site, visit, demo, project, ticket):
    """
    A change of a field that the list doesn't show isn't announced, nor is a snapshot without changes.
    """
    visitor = await visit(site, demo)
    await visitor.wait_for_state("live")
    await visitor.page.clock.install()
    for title, description in [("The logo is blurred", "Since Monday"), ("The logo is gone", "")]:
        ticket.title, ticket.description = title, description
        await in_thread(ticket.save)
    await visitor.wait_for_text("The logo is gone")
    await visitor.page.clock.run_for(6000)
    assert "The logo is gone: open." == await visitor.page.locator("#news").text_content()


@transaction.atomic
def change_four_times(ticket):
    for number in range(4):
        ticket.title = f"Number {number}"
        ticket.save()


async def test_only_the_pages_own_scripts_run(site, visit, demo, ticket):
    """
    The contents of a ticket are shown as text. The policy refuses scripts and styles inside the page.
    """
    ticket.title = (
        "<script>document.title = 'Taken'</script><img src=x onerror=\"document.title='Taken'\">"
    )
    await in_thread(ticket.save)
    visitor = await visit(site, demo)
    await visitor.wait_for_state("live")
    await visitor.wait_for_list_of(demo)
    ticket.title += "!"
    await in_thread(ticket.save)
    await visitor.wait_for_list_of(demo)
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


async def test_frames_are_shown(site, visit, demo, ticket):
    """
    The page shows the frames of its socket, the latest first.
    """
    visitor = await visit(site, demo)
    await visitor.wait_for_state("live")
    await visitor.page.get_by_text("Frames on the socket").click()
    ticket.title = "Shown"
    await in_thread(ticket.save)
    await visitor.wait_for_text('"type":"UPDATE_TICKET"')
    first = visitor.page.locator("#frame-list li")
    assert ["server", "page"] == [
        await first.nth(0).get_attribute("data-way"),
        await first.nth(-2).get_attribute("data-way"),
    ]
    assert '"type":"hello"' in await first.nth(-1).text_content()
