"""Tests of a replay's pages in a real browser, with scripts and without."""

from contextlib import asynccontextmanager

import pytest
from django.conf import settings
from django.test import Client
from playwright.async_api import expect

from pillarbox.models import NotificationOutbox, Replay
from pillarbox.replay.replay import BATCH, carry_out_batch
from tests.browser.programs import chromium, new_context
from tests.communicators import in_thread
from tests.journeys.test_replays import many

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 3 * BATCH
LIST = "/admin/pillarbox/notificationoutbox/?state=failed"
POLICY = "default-src 'self'; img-src 'self' data:"


def session(user):
    """Return the session cookie of a logged-in user."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


@asynccontextmanager
async def browsing(site, user, **options):
    """Open a page of a logged-in user. It may load nothing inline, and nothing from other hosts."""
    key = await in_thread(session, user)
    async with chromium() as browser:
        url = f"http://localhost:{site.port}"
        context = await new_context(browser, base_url=url, **options)
        await context.add_cookies(
            [{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": url}]
        )
        page = await context.new_page()
        errors = []

        async def strictly(route):
            answer = await route.fetch(max_redirects=0)
            headers = {**answer.headers, "content-security-policy": POLICY}
            await route.fulfill(response=answer, headers=headers)

        await page.route("**/admin/pillarbox/replay/**", strictly)
        page.on(
            "console",
            lambda message: errors.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert [] == errors


async def confirm(page):
    """Select all failed rows in the list, and confirm their replay."""
    await page.goto(LIST)
    await page.locator("#action-toggle").check()
    await page.get_by_text("Select all").click()
    await page.locator("select[name=action]").select_option("replay_failed")
    await page.locator(".actions button[name=index]").click()  # "Go", and "Run" since Django 6.0
    await expect(page.get_by_text(f"{ROWS} failed rows match")).to_be_visible()
    await page.get_by_label("Reason").fill("The serializer is mended.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_is_confirmed_and_followed(site, admin, tmp_path, scheme):
    """
    The page updates by itself from the confirmation to the end, then stops.
    """
    await in_thread(many, ROWS, 50)
    await in_thread(site.start, "web")
    async with browsing(site, admin, color_scheme=scheme) as page:
        await confirm(page)
        await page.screenshot(path=tmp_path / "confirm.png", full_page=True)
        await page.set_viewport_size({"width": 400, "height": 900})
        await page.screenshot(path=tmp_path / "confirm-narrow.png", full_page=True)
        assert 400 >= await page.evaluate("document.documentElement.scrollWidth")
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        replay = await in_thread(Replay.objects.get)
        await in_thread(carry_out_batch, replay.pk, using="default")
        await expect(page.get_by_text("In progress")).to_be_visible()
        await page.screenshot(path=tmp_path / "progress-narrow.png", full_page=True)
        await page.set_viewport_size({"width": 1280, "height": 800})
        await page.screenshot(path=tmp_path / "progress.png", full_page=True)
        await in_thread(site.start, "worker")
        await expect(page.get_by_text("Finished")).to_be_visible()
        await page.screenshot(path=tmp_path / "finished.png", full_page=True)
        assert await page.locator("progress").evaluate("bar => bar.value === bar.max")
        await page.goto("/admin/pillarbox/replay/")
        await page.screenshot(path=tmp_path / "list.png", full_page=True)
    assert ROWS == await in_thread(NotificationOutbox.objects.exclude(repeats=None).count)


async def test_is_cancelled(site, admin, tmp_path):
    """
    One click cancels a replay; another one leads to a confirmation for the remaining rows.
    """
    await in_thread(many, ROWS, 50)
    await in_thread(site.start, "web")
    async with browsing(site, admin) as page:
        await confirm(page)
        await page.get_by_role("button", name="Replay").click()
        await page.get_by_role("button", name="Cancel the rest").click()
        await expect(page.get_by_text("Rows announced so far stay announced.")).to_be_visible()
        await page.screenshot(path=tmp_path / "cancelled.png", full_page=True)
        await page.get_by_role("link", name="Continue with the rest").click()
        await expect(page.get_by_text(f"{ROWS} failed rows match")).to_be_visible()


async def test_needs_no_script(site, admin):
    """
    Without a script the page reloads itself.
    """
    await in_thread(many, ROWS, 50)
    await in_thread(site.start, "web")
    async with browsing(site, admin, java_script_enabled=False) as page:
        await page.goto("/admin/pillarbox/replay/confirm/?state=failed")
        await page.get_by_label("Reason").fill("The serializer is mended.")
        await page.get_by_role("button", name="Replay").click()
        await expect(page.get_by_text("Waiting for a worker")).to_be_visible()
        await in_thread(site.start, "worker")
        await expect(page.get_by_text("Finished")).to_be_visible()
