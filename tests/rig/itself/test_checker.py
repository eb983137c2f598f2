"""Tests of the checker: it finds each planted error of deliveries as its kind, and no others."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rig import checker
from tests.rig.checker import SHOWN
from tests.rig.history import Broken, Committed, Followed, Observed, Received

CLIENTS, STREAMS = ("kim", "lee"), ("a", "b")
KINDS = SHOWN


def check_history(records):
    return checker.check_history(records, has_journal=False)


def follows():
    return [Followed(client=c, stream=s, at=0.0) for c in CLIENTS for s in STREAMS]


def committed(number, *streams):
    return Committed(content=f"{number}", streams=streams or STREAMS, at=float(number))


def received(content, client="kim", stream="a", at=None):
    at = float(content) + 0.5 if at is None else at
    return Received(client=client, stream=stream, content=f"{content}", at=at)


@st.composite
def clean(draw, least=1):
    """Draw changes on some streams each, and deliveries of all of them to each client, in order."""
    streams = st.sampled_from([("a",), ("b",), ("a", "b")])
    changes = [
        committed(number, *some)
        for number, some in enumerate(draw(st.lists(streams, min_size=least, max_size=8)), 1)
    ]
    shown = {
        (client, stream): [
            received(c.content, client, stream) for c in changes if stream in c.streams
        ]
        for client in CLIENTS
        for stream in STREAMS
    }
    return changes, shown


def history(changes, shown):
    return [*follows(), *changes, *(one for some in shown.values() for one in some)]


def found(result):
    return {kind: len(getattr(result, kind)) for kind in KINDS if getattr(result, kind)}


@given(clean())
def test_a_clean_history_has_no_errors(made):
    """
    If all changes are shown in order, there are no errors, and the lag of each delivery is known.
    """
    changes, shown = made
    result = check_history(history(changes, shown))
    assert ({}, 0) == (found(result), len(result.errors))
    assert (len(changes), 2) == (result.changes, result.clients)
    assert [0.5] * sum(map(len, shown.values())) == result.lags


@given(clean(least=2), st.data())
def test_planted_errors_are_found(made, data):
    """
    Errors of any kinds are planted, at most one of each: exactly those are found.
    """
    changes, shown = made
    expected = {}
    planted = data.draw(st.sets(st.sampled_from(KINDS)))
    for kind in filter(planted.__contains__, KINDS):
        places = sorted(key for key, some in shown.items() if is_fit(kind, some))
        for key in data.draw(st.sampled_from([[place] for place in places] or [[]])):
            globals()[f"plant_{kind}"](shown, key, data)
            expected[kind] = 1
    result = check_history(history(changes, shown))
    assert expected == found(result)
    assert sum(expected.values()) == len(result.errors)


def is_fit(kind, some):
    """Whether an error planted in these deliveries would be found as this kind, and not as another one."""
    if kind in {"lost", "repeated", "reordered"}:
        return is_untouched(some)
    return kind == "uncommitted" or bool(committed_in(some))


def committed_in(some):
    return [one for one in some if one.content != "never"]


def plant_lost(shown, key, data):
    """Remove one delivery."""
    shown[key].pop(data.draw(st.integers(0, len(shown[key]) - 1)))


def plant_repeated(shown, key, data):
    """Repeat one delivery later."""
    place = data.draw(st.integers(0, len(shown[key]) - 1))
    later = data.draw(st.integers(place + 1, len(shown[key])))
    shown[key].insert(later, shown[key][place])


def plant_reordered(shown, key, data):
    """Swap two neighbouring deliveries."""
    place = data.draw(st.integers(0, len(shown[key]) - 2))
    some = shown[key]
    some[place], some[place + 1] = some[place + 1], some[place]


def plant_foreign(shown, key, data):
    """Show a change to a client that doesn't follow its stream."""
    content = data.draw(st.sampled_from(committed_in(shown[key]))).content
    shown["max", key[1]] = [received(content, "max", key[1])]


def plant_uncommitted(shown, key, data):
    """Show a change that was rolled back."""
    place = data.draw(st.integers(0, len(shown[key])))
    shown[key].insert(place, received("never", *key, at=1.0))


def is_untouched(some):
    numbers = [int(one.content) for one in committed_in(some)]
    return len(numbers) > 1 and all(one < other for one, other in pairwise(numbers))


def test_foreign_content():
    """
    Any delivery to a client without the right is foreign, and so is a delivery of another stream's content.
    """
    refused = Followed(client="max", stream="a", at=0.0, is_allowed=False)
    changes = [committed(1, "a"), committed(2, "b")]
    result = check_history([refused, *changes, received(1, "max")])
    assert {"foreign": 1} == found(result)
    result = check_history([*follows()[:1], *changes, received(1), received(2)])
    assert {"foreign": 1} == found(result)


def test_a_right_that_had_ended():
    """
    A change committed while the client had no right is foreign. A guest need not be shown any change.
    """
    hidden = replace(committed(1, "a"), hidden_from=("kim",))
    changes = [hidden, committed(2, "a")]
    guest = Followed(client="kim", stream="a", at=0.0, is_guest=True)
    assert {"foreign": 1} == found(check_history([guest, *changes, received(1), received(2)]))
    assert {} == found(check_history([guest, *changes]))


def test_changes_before_the_subscription_are_optional():
    """
    A client must be shown the changes after it began to follow; after its first record if there are two.
    """
    again = [Followed(client="kim", stream="a", at=at) for at in (1.5, 9.0)]
    changes = [committed(number, "a") for number in (1, 2)]
    assert {} == found(check_history([*again, *changes, received(2)]))
    assert {} == found(check_history([*again, *changes, received(1), received(2)]))
    assert {"lost": 1} == found(check_history([*again, *changes]))


@pytest.mark.parametrize("error", KINDS)
def test_errors_observed_by_a_client(error):
    """
    Errors that a client detected itself count even if it was shown every change.
    """
    observed = Observed(client="kim", error=error, what="stopped following", times=2)
    changes = [committed(1, "a")]
    result = check_history([*follows()[:1], *changes, received(1), observed])
    assert {error: 2} == found(result)
    assert ["kim stopped following"] * 2 == getattr(result, error)
    assert 2 == len(result.errors)


def test_a_client_that_receives_nothing():
    """
    All changes are lost for this client, in each stream, even if another client was shown all of them.
    """
    changes = [committed(number) for number in range(1, 5)]
    shown = [received(number, "lee", stream) for number in range(1, 5) for stream in STREAMS]
    assert {"lost": 8} == found(check_history([*follows(), *changes, *shown]))


def test_figures():
    """
    The figures have lags by rank and, for each fault, the time from its end to the last delayed delivery.
    """
    changes = [committed(number, "a") for number in range(1, 11)]
    late = [received(number, at=number + number / 10) for number in range(1, 11)]
    faults = [
        Broken(fault="kill", at=1.0, until=5.05),
        Broken(fault="kill", at=20.0, until=21.0),
        Broken(fault="reset", at=1.0, until=5.05, client="lee"),
    ]
    result = check_history([*follows()[:1], *changes, *late, *faults])
    assert [0.1, 0.5, 1.0] == [pytest.approx(result.lag(part)) for part in (0.01, 0.5, 1)]
    assert [pytest.approx(0.45), 0.0] == result.recoveries["kill"]
    assert [0.0] == result.recoveries["reset"]
    assert 0.0 == check_history([]).lag(1)
