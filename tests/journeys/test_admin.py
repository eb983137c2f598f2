"""Tests of the dashboard in a real browser with real processes: it shows faults without a reload."""

import re
from contextlib import asynccontextmanager

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.test import Client
from playwright.async_api import expect

from pillarbox.models import NotificationOutbox
from pillarbox.monitoring.processes import report
from tests.browser.programs import chromium, new_context
from tests.communicators import in_thread
from tests.rows import make

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/pillarbox/notificationoutbox/"
CONTRAST = """element => {
    const luminance = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
            .map((each) => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    let ground = element;
    const isClear = () => /, 0\\)$/.test(getComputedStyle(ground).backgroundColor);
    while (isClear()) ground = ground.parentElement;
    const both = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor];
    const [low, high] = both.map(luminance).sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
}"""


def session(user):
    """Return the session cookie of a logged-in user."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@asynccontextmanager
async def browsing(site, user, **options):
    """Open a page of a logged-in user. Fails if it violates the policy, or requests another host."""
    key, url, errors = await in_thread(session, user), f"http://localhost:{site.port}", []
    async with chromium() as browser:
        context = await new_context(browser, base_url=url, **options)
        await context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": url}]
        )
        page = await context.new_page()

        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: errors.append(request.url) if foreign(request) else 0)
        page.on(
            "console", lambda message: errors.append(message.text) if is_refused(message) else None
        )

        def foreign(request):
            return not request.url.startswith((url, "data:"))

        yield page
        assert [] == errors


def is_refused(message):
    return message.type == "error" and "Content Security Policy" in message.text


def state(page):
    return page.locator(".pillarbox-state")


def report_all():
    """Insert a report for each process, as if it ran."""
    facts = {"worker": {"drained_at": None}, "beat": {"swept_at": None}, "daphne": {"sockets": 3}}
    for kind, values in facts.items():
        report(f"{kind}@host:1", kind, values, using=DEFAULT_DB_ALIAS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_failed_row_is_shown(site, admin, published, tmp_path, scheme):
    """
    When a row can't be published, the page shows it without a reload, readable in both themes.
    """
    await in_thread(site.start, "web", "worker", "beat", "daphne")
    async with browsing(site, admin, color_scheme=scheme) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK")
        assert 6 == await page.locator(".pillarbox-bars").count()
        await in_thread(make, object_type="gone")
        await expect(state(page)).to_have_text("DEGRADED")
        await expect(page.locator(".pillarbox-status")).to_contain_text(
            "1 notification could not be"
        )
        await expect(page.locator("[data-pillarbox-status-text]")).to_contain_text("DEGRADED")
        for part in (
            ".pillarbox-state",
            ".pillarbox-bad dd a",
            ".pillarbox-tiles small",
            ".pillarbox-key",
        ):
            # At once: the panel replaces its elements every few seconds.
            contrasts = await page.locator(part).evaluate_all(f"all => all.map({CONTRAST})")
            assert 4.5 <= min(contrasts), part
        await page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)


async def test_a_dead_worker_is_shown(site, admin, published):
    """
    The page says that no worker runs, and what to do. It says OK once a worker runs again.
    """
    await in_thread(site.start, "web", "worker", "beat", "daphne")
    async with browsing(site, admin) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK")
        await in_thread(site.kill, "worker")
        await in_thread(make)
        await expect(state(page)).to_have_text("STALLED")
        await expect(page.locator(".pillarbox-status")).to_contain_text(
            re.compile(
                r"No worker runs; the last one reported \d+ s ago\. "
                r"Committed rows wait in the outbox\. "
                r"Start `manage\.py pillarbox run`, or a Celery worker\."
            )
        )
        await page.locator("#pillarbox-processes summary").click()
        await expect(
            page.get_by_text("killed, frozen, or cut off from the database").first
        ).to_be_visible()
        await in_thread(site.start, "worker")
        await expect(state(page)).to_have_text("OK")
        await expect(page.locator("#pillarbox-processes")).to_have_attribute("open", "")
    assert not await in_thread(NotificationOutbox.objects.pending().exists)


async def test_the_page_says_that_it_is_stale(site, admin):
    """
    The page says since when the site has not answered. Updates keep the focus and opened details.
    """
    await in_thread(report_all)
    await in_thread(site.start, "web")
    async with browsing(site, admin) as page:
        await page.goto(LIST)
        await page.locator("#pillarbox-table-hour summary").click()
        await page.locator("#pillarbox-stateunreplayed").focus()
        focused = await page.evaluate("document.activeElement.id")
        panel = page.locator("[data-pillarbox-part]").first
        await panel.evaluate("part => { part.firstElementChild.dataset.old = 'yes'; }")
        await expect(page.locator("[data-old]")).to_have_count(0)
        assert focused == await page.evaluate("document.activeElement.id")
        await expect(page.locator("[data-pillarbox-stale]")).to_be_hidden()
        await in_thread(site.stop, "web")
        await expect(page.locator("[data-pillarbox-stale]")).to_contain_text("No answer since")
        await expect(page.locator("#pillarbox-table-hour")).to_have_attribute("open", "")


@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/auth/user/",
        "/admin/auth/user/add/",
        "/admin/tickets/project/add/",
        "/admin/tickets/ticket/add/",
        "/api/",
        "/api/tickets/",
    ],
)
async def test_the_policy_allows_what_pages_need(site, admin, path):
    """
    The policy refuses no file and no script of Django's or DRF's pages.
    """
    await in_thread(site.start, "web")
    async with browsing(site, admin) as page:
        answer = await page.goto(path, wait_until="networkidle")
        assert 200 == answer.status
        assert "script-src 'self'" in answer.headers["content-security-policy"]


async def test_without_a_script_and_on_a_small_screen(site, admin):
    """
    The page has all its parts, and doesn't scroll sideways.
    """
    await in_thread(report_all)
    await in_thread(site.start, "web")
    narrow = {"width": 400, "height": 800}
    async with browsing(site, admin, java_script_enabled=False, viewport=narrow) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK")
        await expect(page.locator(".pillarbox-bars")).to_have_count(6)
        for part in ("status", "tiles", "chart"):
            for box in [
                await each.bounding_box() for each in await page.locator(f".pillarbox-{part}").all()
            ]:
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 400
