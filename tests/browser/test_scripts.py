"""A test of scripts in user input: all pages show them as text, those of operators, too."""

import pytest
from django.contrib.auth import get_user_model
from django.utils import timezone

from apps.tickets.models import Project, Ticket
from pillarbox.types import hashids
from tests.communicators import in_thread
from tests.rows import make

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.asyncio(loop_scope="package")]

#: Ends an attribute, a script and a comment, then adds an element that is found whatever the policy allows.
SCRIPT = """'"></script></title></textarea>--><planted-x></planted-x><img src=/planted onerror=hacked()>"""
PLANTED = "document.querySelectorAll('planted-x, img[src*=planted]').length"
OUTBOX = "/admin/pillarbox/notificationoutbox/"


def write_scripts():
    """Create an administrator, a project, a ticket and failed rows, whose every text is a script."""
    user = get_user_model().objects.create_superuser(f"{SCRIPT[:100]}", password="x")
    project = Project.objects.create(name=SCRIPT[:100])
    project.members.add(user)
    ticket = Ticket.objects.create(project=project, title=SCRIPT, description=SCRIPT, assignee=user)
    errors = {"error_type": SCRIPT, "error_message": SCRIPT, "error_traceback": SCRIPT}
    failed = make(
        1,
        stream=f"thing:{SCRIPT}",
        event=SCRIPT[:100],
        object_type=SCRIPT[:100],
        object_id=SCRIPT,
        payload={SCRIPT: [SCRIPT]},
        failed_at=timezone.now(),
        attempts=10,
        claims=10,
        **errors,
    )
    return user, project, ticket, failed


def pages(project, ticket, failed):
    """Yield the addresses of pages that show these texts."""
    public = hashids.encode("ticket", ticket.pk)
    yield from ("/", f"/tickets/{public}/", f"/tickets/{public}/edit/")
    yield f"/projects/{hashids.encode('project', project.pk)}/add/"
    yield from (OUTBOX, f"{OUTBOX}{failed.pk}/change/", f"{OUTBOX}?q=%3Cplanted-x%3E&state=failed")
    for model, pk in (("project", project.pk), ("ticket", ticket.pk)):
        for page in ("", f"{pk}/change/", f"{pk}/delete/", f"{pk}/history/"):
            yield f"/admin/tickets/{model}/{page}"
    yield from ("/api/tickets/", f"/api/tickets/{public}/")


async def test_scripts_are_shown_as_text(site, visit):
    """
    No page has an element from a text: after loading, after a change, or during a replay.
    """
    user, project, ticket, failed = await in_thread(write_scripts)
    visitor = await visit(site, user, path="")
    visitor.expected = ("404 (Not Found)",)  # the admin has no icon
    for path in pages(project, ticket, failed):
        answer = await visitor.page.goto(path)
        assert 200 == answer.status, path
        assert "planted-x" in await visitor.page.content(), path
        assert 0 == await visitor.page.evaluate(PLANTED), path
    await visitor.open("/")
    await visitor.wait_for_state("live")
    for title in (f"Live {SCRIPT}", f"Live again {SCRIPT}"):
        ticket.title = title
        await in_thread(ticket.save)
        await visitor.wait_for_text(title.partition("<")[0])
        assert 0 == await visitor.page.evaluate(PLANTED)
    await visitor.open(f"{OUTBOX}?state=failed")
    page = visitor.page
    await page.locator(f"input[name=_selected_action][value='{failed.pk}']").check()
    await page.locator("select[name=action]").select_option(index=1)
    await page.locator("button[name=index]").click()
    await page.wait_for_load_state("networkidle")
    assert 0 == await page.evaluate(PLANTED), await page.content()
    assert not [url for url in visitor.requested if url.endswith("/planted")]
