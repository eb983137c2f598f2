"""The plain pattern's Celery task, which is sent for each change."""

from typing import Any

from asgiref.sync import async_to_sync
from celery import Celery
from channels.layers import get_channel_layer

app = Celery("plain", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_default_queue="plain", task_ignore_result=True, worker_hijack_root_logger=False
)


@app.task
def announce(pk: int) -> None:
    """Send a ticket in its present state to its own group and to its project's."""
    # Models can't be imported before the worker has set up Django.
    from apps.tickets.models import Ticket  # noqa: PLC0415
    from apps.tickets.serializers import TicketSerializer  # noqa: PLC0415

    payload: dict[str, Any] = dict(TicketSerializer(Ticket.objects.get(pk=pk)).data)
    send = async_to_sync(get_channel_layer().group_send)
    for group in (f"ticket.{payload['id']}", f"project.tickets.{payload['project']}"):
        send(group, {"type": "notify", "payload": payload})
