"""System checks of Celery's broker, and of our queue in it."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from kombu.transport import resolve_transport
from kombu.utils.url import parse_url

from ..conf import PillarboxSettings, pillarbox_settings
from ..layer.addresses import broker_url
from ..relay.celery_wake_ups import celery_app, our_queue
from .settings import needs_settings

#: Brokers that other hosts, or even other processes, can't reach.
LOCAL = {"memory", "filesystem"}
#: Words for ``ssl_cert_reqs`` with which certificates are verified.
VERIFYING = ("required", "optional", "CERT_REQUIRED", "CERT_OPTIONAL")


@register()
@needs_settings
def broker_can_be_reached(**_: Any) -> list[CheckMessage]:
    """Check that Celery can use the broker's address, and that other processes can reach it."""
    addresses = broker_url().split(";")
    try:
        scheme = urlsplit(addresses[0]).scheme
        for address in addresses:
            parse_url(address)
    except (ValueError, KeyError) as error:
        text = f"The address of the broker can't be used: {error}"
        hint = "It is CELERY_BROKER_URL, or of the app at CELERY_APP. Its ssl_cert_reqs may be required, "
        hint += "optional or none."
        return [Error(text, hint=hint, id="pillarbox.E201")]
    try:
        resolve_transport(scheme.partition("+")[0] or None)
    except (KeyError, ImportError) as error:
        hint = "Redis on a socket is redis+socket:///…; other brokers need their package installed."
        text = f"CELERY_BROKER_URL begins with {scheme}://, which Celery can't use: {error}"
        return [Error(text, hint=hint, id="pillarbox.E201")]
    if scheme == "sentinel" and not _master_name():
        hint = 'Add "master_name" to CELERY_BROKER_TRANSPORT_OPTIONS, as sentinel.conf has it.'
        text = "The broker is behind Sentinel, and Celery doesn't know the name of its master."
        return [Error(text, hint=hint, id="pillarbox.E201")]
    if scheme in LOCAL and not settings.DEBUG:
        hint = "Use Redis, or RabbitMQ."
        text = f"The broker {scheme}:// works within one process or host only, so other processes can't "
        text += "wake the workers."
        return [Warning(text, hint=hint, id="pillarbox.W201")]
    return []


def _master_name() -> Any:
    try:
        return (celery_app().conf.broker_transport_options or {}).get("master_name")
    except ImportError:  # another check reports that there is no such app
        return None


@register()
@needs_settings
def broker_certificate_is_verified(**_: Any) -> list[CheckMessage]:
    """Check that Celery verifies the certificate of a Redis behind TLS, which by default it doesn't."""
    url = broker_url()
    try:
        if urlsplit(url).scheme != "rediss" or not _accepts_any(url):
            return []
    except (ValueError, KeyError):  # another check reports an address that can't be read
        return []
    hint = f"Add {'&' if urlsplit(url).query else '?'}ssl_cert_reqs=required to the broker's address, and "
    hint += "&ssl_ca_certs=/…/ca.pem for a CA of your own. Or set CELERY_BROKER_USE_SSL."
    text = "Celery accepts any certificate of the broker at rediss://, so another server can take its place."
    return [Warning(text, hint=hint, id="pillarbox.W203")]


def _accepts_any(url: str) -> bool:
    try:
        options = parse_url(url).get("ssl") or celery_app().conf.broker_use_ssl
    except ImportError:  # another check reports that there is no such app
        return True
    if not isinstance(options, dict):
        return True
    wanted = options.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    # Whatever is none of these, a list say, doesn't verify anything either.
    return wanted not in (ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL, *VERIFYING)


@register()
@needs_settings
def queue_is_known(**_: Any) -> list[CheckMessage]:
    """Check that the project's Celery app has our queue, or makes queues that it hasn't."""
    conf = pillarbox_settings()
    if conf.WAKE_UP in ("", PillarboxSettings().WAKE_UP):
        return []  # no message is sent
    try:
        our_queue(celery_app())
    except ImportError:  # another check reports that there is no such app
        return []
    except KeyError:
        hint = f'Add kombu.Queue("{conf.CELERY_QUEUE}") to CELERY_TASK_QUEUES.'
        text = f'The Celery app has no queue "{conf.CELERY_QUEUE}", and makes no missing ones.'
        return [Error(text, hint=hint, id="pillarbox.E203")]
    return []
