"""The breaker asks what is away now and then, and the log says so now and then."""

import pytest

from workers.breaker import FIRST_SECONDS, LONGEST_SECONDS, REMINDER_SECONDS, Breaker


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
    Nothing is refused, and nothing said.
    """
    breaker = Breaker("It", clock=clock)
    breaker.succeed()
    assert (False, False, "") == (breaker.is_open, breaker.refuses, caplog.text)
    assert breaker.why is None


def test_says_why_while_it_is_open(clock):
    """
    The last error, in a line; its name if it says nothing.
    """
    breaker = Breaker("It", clock=clock)
    breaker.fail(ConnectionError("nobody\nlistens"))
    assert "nobody listens" == breaker.why
    breaker.fail(ConnectionError())
    assert "ConnectionError" == breaker.why
    breaker.succeed()
    assert breaker.why is None


def test_waits_twice_as_long_each_time(clock):
    """
    Up to a ceiling that is a few seconds: what comes back is noticed soon.
    """
    breaker, waits = Breaker("It", clock=clock, jitter=lambda: 1.0), []
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
    A probe may come at any moment of the wait, at once too.
    """
    breaker = Breaker("It", clock=clock, jitter=lambda: 0.0)
    breaker.fail(ConnectionError())
    assert (True, False) == (breaker.is_open, breaker.refuses)


def test_says_it_once_and_then_rarely(clock, caplog):
    """
    An outage of half an hour is a handful of lines, and its end is one.
    """
    breaker = Breaker("The moon", clock=clock)
    for _ in range(1800):
        breaker.fail(ConnectionError("nobody listens"))
        clock.now += 1
    assert 1800 / REMINDER_SECONDS == len(caplog.messages)
    assert caplog.messages[0].startswith("The moon is away, for 0 seconds by now: nobody listens.")
    breaker.succeed()
    assert "The moon is back after 1800 seconds." == caplog.messages[-1]


def test_an_error_without_words_is_named(clock, caplog):
    """
    A timeout has no message.
    """
    Breaker("It", clock=clock).fail(TimeoutError())
    assert "TimeoutError" in caplog.text
