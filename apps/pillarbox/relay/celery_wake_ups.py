"""
The messages to Celery's workers: one for each requested wake-up, and few for each sweep.

They go to a queue of our own, encoded and routed by us: the routes and defaults of the project's Celery app
are for its own tasks.
"""

import os
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import redis
from django.utils.module_loading import import_string

from ..conf import pillarbox_settings
from ..layer.redis_clients import impatience_with_sentinels
from . import wake_ups
from .wake_ups import request, unless_away

if TYPE_CHECKING:
    from celery import Celery

KEY = "pillarbox:wake-up"
DRAIN, REPLAY = "pillarbox.drain", "pillarbox.replay"

#: A message that no worker has taken for this long is dropped. The hosts' clocks differ by less.
EXPIRE_SECONDS = 600
#: The longest time to connect to the broker, and to wait for its answer: a save may wait for it.
CONNECT_SECONDS, ANSWER_SECONDS = 1, 2
#: These override the project's transport options, since the project's own tasks may wait longer.
IMPATIENCE = {
    "socket_connect_timeout": CONNECT_SECONDS,
    "socket_timeout": ANSWER_SECONDS,
    "read_timeout": ANSWER_SECONDS,
    "write_timeout": ANSWER_SECONDS,
    "interval_start": 0,
}


def celery_app() -> "Celery":
    """
    Return the project's Celery app: of the setting ``CELERY_APP``, or Celery's current one.

    Raises ImportError if the setting leads to no app.
    """
    path = pillarbox_settings().CELERY_APP
    if not path:
        from celery import current_app  # noqa: PLC0415  # a project without Celery has none

        return current_app
    app: Celery = import_string(path)
    if not hasattr(app, "send_task"):
        raise ImportError(f"{path} is no Celery app.")
    return app


def wake_up(using: str) -> None:
    """
    Wake up a worker, unless a wake-up is requested already. Never raises, and never waits long.

    Called after a commit; ``using`` is the alias of the database with rows to publish. A message is sent even
    if the project's tasks are eager: a drain in the caller's process would make a save wait.
    """
    unless_away(lambda: send_wake_up(using))


def send_wake_up(using: str) -> None:
    """Wake up a worker, like `wake_up`. Raises the errors of Redis and of the broker."""
    request(KEY, using, lambda: send(celery_app(), DRAIN))


def clear_request() -> None:
    """Clear the requested wake-up. Called before the outbox is read, so later commits request another."""
    wake_ups.clear_request(KEY)


def is_requested() -> bool:
    """True if a wake-up was requested, and no worker has responded. Raises RedisError if Redis is away."""
    return wake_ups.is_requested(KEY)


def request_replay(using: str) -> None:
    """Send a replay task. Never raises. A lost message is harmless, since beat sends the task, too."""
    unless_away(lambda: send(celery_app(), REPLAY))


def send(celery: "Celery", task: str) -> None:
    """Send a task to our queue. Raises the broker's own error, soon, if the broker is away."""
    with _producer(celery) as producer:
        _send(celery, task, producer)


def send_unless_queued(celery: "Celery", task: str, *, most: int) -> bool:
    """
    Send a task, unless more than ``most`` messages are queued; return whether it was sent.

    So an absent worker finds one or two messages, not one for each sweep. Raises the broker's own error if
    the broker is away.
    """
    with _producer(celery) as producer:
        if queued(celery, producer.connection) > most:
            return False
        _send(celery, task, producer)
    return True


def queued(celery: "Celery", connection: Any) -> int:
    """Return the number of messages in our queue. ``connection`` is one to the broker."""
    queue = our_queue(celery)(connection.default_channel)
    return int(queue.queue_declare().message_count)


def our_queue(celery: "Celery") -> Any:
    """Return our queue in a Celery app. Raises KeyError if it has none, and makes no missing ones."""
    # Asked for a missing queue, the app adds it, and before Celery 5.7 its workers without `-Q` then consume
    # from it. So a copy is asked.
    return copy(celery.amqp.queues)[pillarbox_settings().CELERY_QUEUE]


def _send(celery: "Celery", task: str, producer: Any) -> None:
    # `send_task` would ask the project's routers, load its result backend, and warn if its tasks are eager.
    from kombu.utils.uuid import uuid  # noqa: PLC0415  # see `celery_app`

    amqp, queue = celery.amqp, our_queue(celery)
    amqp.send_task_message(
        producer,
        task,
        amqp.create_task_message(uuid(), task, expires=EXPIRE_SECONDS, ignore_result=True),
        queue=queue,
        # Brokers deliver by the name of the queue from the exchange without a name.
        exchange="",
        routing_key=queue.name,
        serializer=_serializer(celery),
        expiration=EXPIRE_SECONDS,  # for brokers that drop messages by themselves
        retry=False,
    )


def _serializer(celery: "Celery") -> str:
    """Return JSON, or else the project's own if its workers refuse JSON. The messages carry nothing."""
    from kombu.serialization import prepare_accept_content  # noqa: PLC0415  # see `celery_app`

    accepted = prepare_accept_content(celery.conf.accept_content) or ()
    return "json" if "application/json" in accepted else str(celery.conf.task_serializer)


def _producer(celery: "Celery") -> Any:
    """Return a producer with an impatient connection to the broker, to be used as a context manager."""
    return _producers(celery, os.getpid()).acquire(block=True)


@lru_cache  # its making takes longer than the sending of a message
def _producers(celery: "Celery", _: int) -> Any:
    """Return the producers of a process, which a fork doesn't share."""
    from kombu.pools import producers  # noqa: PLC0415  # see `celery_app`

    connection = celery.connection_for_write(
        connect_timeout=CONNECT_SECONDS, transport_options=IMPATIENCE
    )
    # If the project names several brokers, each is tried.
    options = dict(connection.transport_options or {}, max_retries=len(connection.alt))
    if connection.transport_cls == "sentinel":
        given = options.get("sentinel_kwargs") or {}
        options["sentinel_kwargs"] = given | impatience_with_sentinels(redis)
    return producers[connection.clone(transport_options=options)]
