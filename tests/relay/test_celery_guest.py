"""Our messages in Celery apps of projects, whose own tasks have other queues, encodings and limits."""

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from celery import Celery
from celery.utils.time import rate
from django.conf import settings as django_settings
from kombu import Exchange, Queue

from pillarbox import tasks
from pillarbox.relay import celery_wake_ups
from tests.rig.proxy import Proxy
from workers.app import app

#: Each would keep our tasks from running if it applied to them.
HOSTILE = {
    "task_default_queue": "theirs",
    "task_default_exchange_type": "topic",
    "task_routes": {"*": {"queue": "other", "exchange": "other", "routing_key": "a.b"}},
    "task_serializer": "pickle",
    "task_annotations": {"*": {"rate_limit": "1/m", "time_limit": 1, "ignore_result": False}},
    "task_default_rate_limit": "1/h",
    "task_always_eager": True,
    "task_acks_late": True,
    "task_ignore_result": False,
    "task_store_errors_even_if_ignored": True,
    "task_time_limit": 1,
    "task_soft_time_limit": 1,
    "result_backend": "nowhere.Backend",
    "enable_utc": False,
    "timezone": "Asia/Tokyo",
}


#: Changes of the configuration, and the encoding of our messages.
CASES = {
    "as above": ({}, "application/json"),
    "a router that can't be imported": ({"task_routes": ("nowhere.route",)}, "application/json"),
    "an older protocol": ({"task_protocol": 1}, "application/json"),
    "JSON by its other name": ({"accept_content": ["application/json"]}, "application/json"),
    "no JSON": ({"accept_content": ["pickle"]}, "application/x-python-serialize"),
    "a queue of its own making": (
        {
            "task_create_missing_queues": False,
            "task_queues": [Queue("pillarbox", Exchange("live", "topic"), "live.#"), Queue("a")],
        },
        "application/json",
    ),
}


@contextmanager
def project(**conf):
    """Make the Celery app of a hostile project the current one."""
    with Celery("project", broker=django_settings.CELERY_BROKER_URL) as celery:
        celery.conf.update(HOSTILE | conf)
        try:
            yield celery
        finally:
            app.set_current()


@pytest.fixture
def received():
    """Return a function that returns the next message of our queue, or None."""
    celery_wake_ups.clear_request()
    with app.pool.acquire(block=True) as connection:
        queue = app.amqp.queues["pillarbox"](connection.default_channel)
        queue.purge()
        yield lambda: queue.get(no_ack=True, accept={"json", "pickle"})
        queue.purge()
    celery_wake_ups.clear_request()


@pytest.mark.parametrize("case", CASES)
def test_messages_go_to_our_queue(settings, received, case):
    """
    A wake-up, and a task of beat, go to our queue, in an encoding that workers accept, and expire.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": ""}
    conf, encoding = CASES[case]
    with project(**conf) as celery:
        declared = {*celery.amqp.queues}
        celery_wake_ups.send_wake_up("default")
        messages = [received()]
        celery.tasks[tasks.prune_outbox.name].apply_async()
        messages.append(received())
        # Else the project's own workers might consume from ours.
        assert declared == {*celery.amqp.queues}
    for message in messages:
        assert encoding == message.content_type
        assert str(celery_wake_ups.EXPIRE_SECONDS * 1000) == message.properties["expiration"]
        said = message.headers or message.payload
        left = datetime.fromisoformat(said["expires"]) - datetime.now(UTC)
        assert 0 < left.total_seconds() <= celery_wake_ups.EXPIRE_SECONDS


def test_the_queue_has_another_name(settings, received):
    """
    The project names the queue, by one setting.
    """
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "", "CELERY_QUEUE": "live"}
    with project() as celery, celery.connection_for_write() as connection:
        queue = celery.amqp.queues["live"](connection.default_channel)
        celery_wake_ups.send_wake_up("default")
        assert queue.get(no_ack=True)
        queue.delete()
    assert received() is None


def test_tasks_keep_their_limits():
    """
    Neither defaults nor annotations of the project change how our tasks run.
    """
    with project() as celery:
        for name in (each.name for each in (tasks.drain, tasks.count)):
            task = celery.tasks[name]
            assert 0 == rate(task.rate_limit)
            assert task.time_limit == task.soft_time_limit == tasks.NO_LIMIT_SECONDS
            assert (True, False, False) == (
                task.ignore_result,
                task.acks_late,
                task.store_errors_even_if_ignored,
            )


def test_transport_options_are_merged():
    """
    Our connections have the project's transport options, and our timeouts.
    """
    theirs = {"global_keyprefix": "shop.", "socket_timeout": 60, "max_retries": 9}
    with project(broker_transport_options=theirs) as celery:
        with celery_wake_ups._producer(celery) as producer:
            options = producer.connection.transport_options
        ours = {"socket_timeout": celery_wake_ups.ANSWER_SECONDS, "max_retries": 0}
        assert {**options, **theirs, **ours} == options
        assert theirs == celery.conf.broker_transport_options


async def test_each_broker_is_tried(received):
    """
    If the project names several brokers, the first one may be away.
    """
    async with Proxy(django_settings.REDIS_URL) as proxy:
        with project(broker_url=f"redis://127.0.0.1:1;{proxy.url}") as celery:
            await asyncio.to_thread(celery_wake_ups.send, celery, celery_wake_ups.DRAIN)
    assert received()
