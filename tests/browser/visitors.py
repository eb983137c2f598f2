"""Somebody who looks at the page in a real browser."""

import asyncio
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.test import Client
from playwright.async_api import BrowserContext, Page

from apps.realtime import hashids
from apps.tickets.models import Project, Ticket
from tests.processes import Site
from tests.sockets import in_thread
from tests.waiting import PATIENCE

#: What is to be seen of the list: of each project its name and its tickets.
SEEN = """() => [...document.querySelectorAll('.project')].map(project => [
    project.querySelector('h2').textContent,
    [...project.querySelectorAll('.ticket')].map(row => [
        row.id, ...[...row.querySelectorAll('[data-field]')].map(place => place.textContent)
    ])
])"""


class Visitor:
    """One browser with one page; it notes all that the page says and requests."""

    def __init__(self, context: BrowserContext, page: Page, site: Site) -> None:
        self.context, self.page, self.site = context, page, site
        #: Each message of the console, after its type; an error that nothing caught is one, too.
        self.messages: list[tuple[str, str]] = []
        self.requested: list[str] = []
        #: Words that may be in a mistake: of what a test has brought about.
        self.expected: tuple[str, ...] = ()
        page.on("console", lambda it: self.messages.append((it.type, it.text)))
        page.on("pageerror", lambda it: self.messages.append(("error", str(it))))
        page.on("request", lambda it: self.requested.append(it.url))

    @property
    def mistakes(self) -> list[str]:
        """The errors and warnings of the page, and its requests to other hosts; none of them expected."""
        found = [
            *(text for kind, text in self.messages if kind in ("error", "warning")),
            *(url for url in self.requested if urlsplit(url).hostname != "localhost"),
        ]
        return [it for it in found if not any(words in it for words in self.expected)]

    async def sign_in(self, user: Any) -> None:
        """Have the browser hold a new session of the user's."""
        client = Client()
        await in_thread(client.force_login, user)
        self.session = client.cookies[settings.SESSION_COOKIE_NAME].value
        cookie = {"name": settings.SESSION_COOKIE_NAME, "value": self.session}
        await self.context.add_cookies([{**cookie, "url": f"http://localhost:{self.site.port}"}])

    async def open(self, path: str) -> None:
        await self.page.goto(path)

    async def is_in(self, state: str) -> None:
        """Return once the page says that it is in this state."""
        await self.page.wait_for_selector(f"#state[data-state={state}]", timeout=PATIENCE * 1000)

    async def reads(self, words: str) -> None:
        """Return once these words are to be seen."""
        await self.page.get_by_text(words).first.wait_for(timeout=PATIENCE * 1000)

    async def seen(self) -> Any:
        """Return what is to be seen of the projects and their tickets."""
        return await self.page.evaluate(SEEN)

    async def sees(self, user: Any) -> None:
        """Return once the list is what the database has for this user."""
        await eventually(self.seen, lambda: in_thread(what_there_is, user))


def what_there_is(user: Any) -> list[Any]:
    """Return what the list should show, as the database has it."""
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
    """Return once two are the same. Fails, with both, if they don't become so."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while (found := await seen()) != (wanted := await expected()):
        assert asyncio.get_running_loop().time() < deadline, (found, wanted)
        await asyncio.sleep(0.02)
