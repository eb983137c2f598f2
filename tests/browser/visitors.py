"""A visitor of the page in a real browser."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client
from playwright.async_api import BrowserContext, Page

from apps.tickets.models import Project, Ticket
from pillarbox.types import hashids
from tests.communicators import in_thread
from tests.processes import Site
from tests.waiting import PATIENCE

#: Returns the visible projects: for each its name and its tickets.
SHOWN_LIST = """() => [...document.querySelectorAll('.project')].map(project => [
    project.querySelector('h2').textContent,
    [...project.querySelectorAll('.ticket')].map(row => [
        row.id, ...[...row.querySelectorAll('[data-field]')].map(place => place.textContent)
    ])
])"""


class Visitor:
    """A browser profile with one page. It records the page's messages and requests."""

    def __init__(self, context: BrowserContext, page: Page, site: Site) -> None:
        self.context, self.page, self.site = context, page, site
        #: Messages of the console, after their types, and uncaught errors.
        self.messages: list[tuple[str, str]] = []
        self.requested: list[str] = []
        #: Texts of errors that the test causes on purpose.
        self.expected: tuple[str, ...] = ()
        page.on("console", lambda it: self.messages.append((it.type, it.text)))
        page.on("pageerror", lambda it: self.messages.append(("error", str(it))))
        page.on("request", lambda it: self.requested.append(it.url))

    @property
    def errors(self) -> list[str]:
        """The unexpected errors and warnings of the page, and its requests to other hosts."""
        found = [
            *(text for kind, text in self.messages if kind in ("error", "warning")),
            *(url for url in self.requested if urlsplit(url).hostname != "localhost"),
        ]
        return [it for it in found if not any(text in it for text in self.expected)]

    async def sign_in(self, user: Any) -> None:
        """Give the browser a new session of the user."""
        client = Client()
        await in_thread(client.force_login, user)
        self.session = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": self.session}
        await self.context.add_cookies([{**cookie, "url": f"http://localhost:{self.site.port}"}])

    async def open(self, path: str) -> None:
        await self.page.goto(path)

    async def wait_for_state(self, state: str) -> None:
        """Wait until the page shows this state."""
        await self.page.wait_for_selector(f"#state[data-state={state}]", timeout=PATIENCE * 1000)

    async def wait_for_text(self, text: str) -> None:
        """Wait until a text is visible."""
        await self.page.get_by_text(text).first.wait_for(timeout=PATIENCE * 1000)

    async def shown_list(self) -> Any:
        """Return the visible projects and their tickets."""
        return await self.page.evaluate(SHOWN_LIST)

    async def wait_for_list_of(self, user: Any) -> None:
        """Wait until the list shows what the database has for this user."""
        await eventually(self.shown_list, lambda: in_thread(expected_list, user))


def expected_list(user: Any) -> list[Any]:
    """Return the projects and tickets that the list should show to a user."""
    return [
        [project.name, [_row(ticket) for ticket in project.tickets.order_by("created", "pk")]]
        for project in Project.objects.visible_to(user)
    ]


def _row(ticket: Ticket) -> list[str]:
    return [
        f"ticket-{hashids.encode('ticket', ticket.pk)}",
        ticket.title,
        ticket.get_status_display(),
        ticket.get_priority_display(),
        str(ticket.assignee or ""),
    ]


async def eventually(seen: Callable[[], Any], expected: Callable[[], Any]) -> None:
    """Wait until a function returns the expected value. Fails with both values if it doesn't."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (found := await seen()) != (wanted := await expected()):
        assert asyncio.get_running_loop().time() < deadline, (found, wanted)
        await asyncio.sleep(0.02)
