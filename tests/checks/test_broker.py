"""Tests of the system checks of the broker's address and certificate, and of our queue."""

import ssl

import pytest
import redis
from celery import Celery
from kombu import Connection

from pillarbox.checks import broker as checks
from pillarbox.conf import PillarboxSettings
from tests.ports import free_port
from tests.redis_servers import Certificates, needs_redis_server, redis_server

strict = Celery("strict", set_as_current=False)
strict.conf.task_create_missing_queues = False
named = Celery("named", set_as_current=False)
named.conf.broker_transport_options = {"master_name": "a"}


def ids(found):
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("expected", "url"),
    [
        ([], "redis://redis.example/1"),
        ([], "redis+socket:///run/redis.sock"),
        ([], "amqp://broker.example"),
        (["pillarbox.E201"], "unix:///run/redis.sock"),
        (["pillarbox.E201"], "rabbit://broker.example"),
        (["pillarbox.W201"], "memory://"),
        (["pillarbox.E201"], "rediss://one.example?ssl_cert_reqs=bogus"),
        (["pillarbox.E201"], "rediss://[::1"),
    ],
)
def test_broker(settings, expected, url):
    """
    A broker that Celery can't use, or that other processes can't reach, is reported.
    """
    settings.CELERY_BROKER_URL = url
    assert expected == ids(checks.broker_can_be_reached())
    assert [] == checks.broker_certificate_is_verified()


def test_a_broker_behind_sentinel_has_a_master(settings):
    """
    Without the name of its master it is reported, and so is a sentinel's address that Celery can't use.
    """
    settings.CELERY_BROKER_URL = "sentinel://one.example:26379;sentinel://two.example:26379"
    assert ["pillarbox.E201"] == ids(checks.broker_can_be_reached())
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "nowhere.app"}
    assert ["pillarbox.E201"] == ids(checks.broker_can_be_reached())
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": f"{__name__}.named"}
    assert [] == checks.broker_can_be_reached()
    settings.CELERY_BROKER_URL = "sentinel://one.example:26379;sentinel://two.example:port"
    assert ["pillarbox.E201"] == ids(checks.broker_can_be_reached())


def test_while_debugging_a_broker_may_be_in_memory(settings):
    """
    An in-memory broker is allowed in debug mode, where one process may suffice.
    """
    settings.CELERY_BROKER_URL, settings.DEBUG = "memory://", True
    assert [] == checks.broker_can_be_reached()


#: An app of the project that has its broker from elsewhere than Django's settings.
elsewhere = Celery("elsewhere", broker="rediss://one.example", set_as_current=False)


def test_the_broker_of_the_celery_app(settings):
    """
    The app at ``CELERY_APP`` says which broker it has, if Django's settings don't. Another check reports that
    there is no such app.
    """
    settings.CELERY_BROKER_URL = ""
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": f"{__name__}.elsewhere"}
    assert ["pillarbox.W203"] == ids(checks.broker_certificate_is_verified())
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "nowhere.app"}
    assert [] == checks.broker_certificate_is_verified()
    assert [] == checks.broker_can_be_reached()
    settings.CELERY_BROKER_URL = "rediss://one.example"
    assert ["pillarbox.W203"] == ids(checks.broker_certificate_is_verified())


def test_what_is_no_celery_app(settings):
    """
    It has no broker. The check of the settings reports it.
    """
    settings.CELERY_BROKER_URL = "rediss://one.example"
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "os.path"}
    assert ["pillarbox.W203"] == ids(checks.broker_certificate_is_verified())
    assert [] == checks.queue_is_known()
    settings.CELERY_BROKER_URL = ""
    assert [] == checks.broker_can_be_reached()
    assert [] == checks.broker_certificate_is_verified()


@pytest.mark.parametrize(
    ("expected", "options"),
    [
        (["pillarbox.W203"], True),
        (["pillarbox.W203"], {"ssl_cert_reqs": ssl.CERT_NONE}),
        (["pillarbox.W203"], {"ssl_cert_reqs": None}),
        (["pillarbox.W203"], {"ssl_cert_reqs": ["required"]}),
        ([], {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ([], {"ssl_ca_certs": "/ca.pem"}),
    ],
)
def test_options_of_tls(settings, expected, options):
    """
    ``broker_use_ssl`` of the Celery app decides if the address has no options of its own.
    """
    settings.CELERY_BROKER_URL = ""
    settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": f"{__name__}.elsewhere"}
    elsewhere.conf.broker_use_ssl = options
    try:
        assert expected == ids(checks.broker_certificate_is_verified())
    finally:
        elsewhere.conf.broker_use_ssl = False


@pytest.fixture
def tls(tmp_path):
    """Run a Redis with TLS; return its address, and the path of its CA's certificate."""
    certificates, port = Certificates(tmp_path / "certificates"), free_port()
    with redis_server(tmp_path, port, tls_port=str(port), **certificates.options):
        yield f"rediss://localhost:{port}/0", certificates.ca


@needs_redis_server
def test_celery_accepts_the_certificates_that_the_check_says(settings, tls):
    """
    By default Celery accepts any certificate; with the options of the hint, only one of a known CA. Our own
    clients accept no other.
    """
    url, certificate = tls
    required = f"{url}?ssl_cert_reqs=required"
    for address, found, is_accepted in (
        (url, ["pillarbox.W203"], True),
        (f"{url}?ssl_cert_reqs=none", ["pillarbox.W203"], True),
        (required, [], False),
        (f"{required}&ssl_ca_certs={certificate}", [], True),
    ):
        settings.CELERY_BROKER_URL = address
        assert found == ids(checks.broker_certificate_is_verified()), address
        assert is_accepted == _connects(address), address
    with (
        redis.Redis.from_url(url) as ours,
        pytest.raises(redis.ConnectionError, match="CERTIFICATE"),
    ):
        ours.ping()


def _connects(address):
    """Return whether Celery's connection accepts the broker's certificate."""
    with Connection(address) as broker:
        try:
            broker.connect()
        except broker.connection_errors as error:
            assert "CERTIFICATE" in str(error)
            return False
        return True


class TestQueue:
    def test_of_the_project(self):
        """
        The project's app makes missing queues.
        """
        assert [] == checks.queue_is_known()

    def test_that_is_missing(self, settings):
        """
        A queue that the app neither has nor makes is reported, with the line that adds it.
        """
        settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "tests.checks.test_broker.strict"}
        (error,) = checks.queue_is_known()
        assert "pillarbox.E203" == error.id
        assert 'Queue("pillarbox")' in error.hint
        settings.PILLARBOX = settings.PILLARBOX | {"CELERY_APP": "nowhere.app"}
        assert [] == checks.queue_is_known()  # another check reports it

    def test_without_celery(self, settings):
        """
        A project that publishes without Celery needs no queue.
        """
        for path in ("", PillarboxSettings().WAKE_UP):
            settings.PILLARBOX = {"WAKE_UP": path, "CELERY_APP": "tests.checks.test_broker.strict"}
            assert [] == checks.queue_is_known()
