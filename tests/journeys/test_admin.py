"""The dashboard in a real browser, above real processes: faults are seen within seconds, without a reload."""

import os
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS
from django.test import Client
from playwright.async_api import async_playwright, expect

from apps.outbox.instances import report
from apps.outbox.models import NotificationOutbox
from tests.outbox.rows import make
from tests.sockets import in_thread

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        not CHROMIUM.exists() and not os.environ.get("CI"),
        reason="needs Debian's package chromium; in CI it is not skipped",
    ),
]
ARGUMENTS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
POLICY = "default-src 'self'; img-src 'self' data:"
LIST = "/admin/outbox/notificationoutbox/"
#: A report, the panel's own interval, and what a busy machine takes.
SECONDS = 30_000
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
    """Return the cookie of somebody who is logged in."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@asynccontextmanager
async def browsing(site, user, **options):
    """A page of somebody who is logged in. It may load nothing inline, and nothing from elsewhere."""
    key, url, mistakes = await in_thread(session, user), f"http://localhost:{site.port}", []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = await browser.new_context(base_url=url, **options)
        await context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": url}]
        )
        page = await context.new_page()

        async def strictly(route):
            assert route.request.url.startswith(url)
            answer = await route.fetch(max_redirects=0)
            headers = {**answer.headers, "content-security-policy": POLICY}
            await route.fulfill(response=answer, headers=headers)

        await page.route(f"**{LIST}", strictly)
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.on("request", lambda request: mistakes.append(request.url) if foreign(request) else 0)
        page.on("console", lambda said: mistakes.append(said.text) if is_refused(said) else None)

        def foreign(request):
            return not request.url.startswith((url, "data:"))

        yield page
        await page.unroute_all(behavior="ignoreErrors")
        await browser.close()
        assert [] == mistakes


def is_refused(said):
    return said.type == "error" and "Content Security Policy" in said.text


def state(page):
    return page.locator(".outbox-state")


def well():
    """Have each process report itself, though none of them runs."""
    facts = {"worker": {"drained_at": None}, "beat": {"swept_at": None}, "daphne": {"sockets": 3}}
    for kind, said in facts.items():
        report(f"{kind}@host:1", kind, said, using=DEFAULT_DB_ALIAS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_poison_row_is_seen(site, admin, published, tmp_path, scheme):
    """
    All is well; then a row can't be published, and the page says so by itself, readable in either theme.
    """
    await in_thread(site.start, "web", "worker", "beat", "daphne")
    async with browsing(site, admin, color_scheme=scheme) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK", timeout=SECONDS)
        assert 6 == await page.locator(".outbox-bars").count()
        await in_thread(make, object_type="gone")
        await expect(state(page)).to_have_text("DEGRADED", timeout=SECONDS)
        await expect(page.locator(".outbox-verdict")).to_contain_text("1 notification could not be")
        await expect(page.locator("[data-outbox-said]")).to_contain_text("DEGRADED")
        for part in (".outbox-state", ".outbox-bad dd a", ".outbox-tiles small", ".outbox-key"):
            for element in await page.locator(part).all():
                assert 4.5 <= await element.evaluate(CONTRAST), part
        await page.screenshot(path=tmp_path / f"{scheme}.png", full_page=True)


async def test_a_dead_worker_is_seen_and_its_return(site, admin, published):
    """
    Killed with rows waiting, it is named with what to do; once it runs again, all is well.
    """
    await in_thread(site.start, "web", "worker", "beat", "daphne")
    async with browsing(site, admin) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK", timeout=SECONDS)
        await in_thread(site.kill, "worker")
        await in_thread(make)
        await expect(state(page)).to_have_text("STALLED", timeout=SECONDS)
        await expect(page.locator(".outbox-verdict")).to_contain_text(
            "no worker runs. Start the worker process", timeout=SECONDS
        )
        await page.locator("#outbox-processes summary").click()
        await expect(page.get_by_text("nobody told it to end").first).to_be_visible()
        await in_thread(site.start, "worker")
        await expect(state(page)).to_have_text("OK", timeout=SECONDS)
        await expect(page.locator("#outbox-processes")).to_have_attribute("open", "")
    assert not await in_thread(NotificationOutbox.objects.pending().exists)


async def test_it_says_when_nobody_answers(site, admin):
    """
    What is shown is not taken for fresh when the site is gone; who reads along isn't disturbed.
    """
    await in_thread(well)
    await in_thread(site.start, "web")
    async with browsing(site, admin) as page:
        await page.goto(LIST)
        await page.locator("#outbox-table-hour summary").click()
        await page.locator("#outbox-stateunreplayed").focus()
        focused = await page.evaluate("document.activeElement.id")
        panel = page.locator("[data-outbox-part]").first
        await panel.evaluate("part => { part.firstElementChild.dataset.old = 'yes'; }")
        await expect(page.locator("[data-old]")).to_have_count(0, timeout=SECONDS)
        assert focused == await page.evaluate("document.activeElement.id")
        await expect(page.locator("[data-outbox-stale]")).to_be_hidden()
        await in_thread(site.stop, "web")
        await expect(page.locator("[data-outbox-stale]")).to_contain_text(
            "No answer since", timeout=SECONDS
        )
        await expect(page.locator("#outbox-table-hour")).to_have_attribute("open", "")


async def test_without_a_script_and_on_a_small_screen(site, admin):
    """
    All is in the page, and nothing of it sticks out.
    """
    await in_thread(well)
    await in_thread(site.start, "web")
    narrow = {"width": 400, "height": 800}
    async with browsing(site, admin, java_script_enabled=False, viewport=narrow) as page:
        await page.goto(LIST)
        await expect(state(page)).to_have_text("OK")
        await expect(page.locator(".outbox-bars")).to_have_count(6)
        for part in ("verdict", "tiles", "chart"):
            for box in [
                await each.bounding_box() for each in await page.locator(f".outbox-{part}").all()
            ]:
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 400
