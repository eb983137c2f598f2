"""Tests of the circuit breaker, and of its log."""

import pytest

from pillarbox.relay.breaker import FIRST_SECONDS, LONGEST_SECONDS, REMINDER_SECONDS, LoggedBreaker


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_is_closed_while_all_is_well(clock, caplog):
    """
    While calls succeed, nothing is refused or logged.
    """
    breaker = LoggedBreaker("It", clock=clock)
    breaker.succeed()
    assert (False, False, "") == (breaker.is_open, breaker.refuses, caplog.text)
    assert breaker.why is None


def test_says_why_while_it_is_open(clock):
    """
    An open breaker gives the last error in one line, or its class if it has no message.
    """
    breaker = LoggedBreaker("It", clock=clock)
    breaker.fail(ConnectionError("nobody\nlistens"))
    assert "nobody listens" == breaker.why
    breaker.fail(ConnectionError())
    assert "ConnectionError" == breaker.why
    breaker.succeed()
    assert breaker.why is None


def test_waits_twice_as_long_each_time(clock):
    """
    The wait doubles up to a limit of a few seconds, so recovery is noticed soon.
    """
    breaker, waits = LoggedBreaker("It", clock=clock, jitter=lambda: 1.0), []
    for _ in range(6):
        breaker.fail(ConnectionError())
        begun = clock.now
        while breaker.refuses:
            clock.now += 0.25
        waits.append(clock.now - begun)
    assert [FIRST_SECONDS, 1.0, 2.0, 4.0, LONGEST_SECONDS, LONGEST_SECONDS] == waits
    assert breaker.is_open


def test_jitter_is_full(clock):
    """
    A probe may come at any time of the wait, even at once.
    """
    breaker = LoggedBreaker("It", clock=clock, jitter=lambda: 0.0)
    breaker.fail(ConnectionError())
    assert (True, False) == (breaker.is_open, breaker.refuses)


def test_logs_an_outage_rarely(clock, caplog):
    """
    An outage of half an hour logs a handful of lines, and its end logs one.
    """
    breaker = LoggedBreaker("The moon", clock=clock)
    for _ in range(1800):
        breaker.fail(ConnectionError("nobody listens"))
        clock.now += 1
    assert 1800 / REMINDER_SECONDS == len(caplog.messages)
    assert caplog.messages[0].startswith("The moon is away (0 seconds so far): nobody listens.")
    breaker.succeed()
    assert "The moon is back after 1800 seconds." == caplog.messages[-1]


def test_an_error_without_message_is_named(clock, caplog):
    """
    An error without message is logged by its class.
    """
    LoggedBreaker("It", clock=clock).fail(TimeoutError())
    assert "TimeoutError" in caplog.text
