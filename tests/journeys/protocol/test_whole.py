"""The last test of the protocol: a real Daphne sent all that the page documents."""

import re
from pathlib import Path

import pytest

#: Run after the other tests of this folder.
pytestmark = pytest.mark.django_db(transaction=True)


def test_all_that_is_documented_is_so(request, protocol):
    """
    Each frame, field, reason, error code and close code of the page was seen in this folder's tests.
    """
    folder = Path(__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("test_*.py"))
    seen = {it.originalname for it in request.session.items if it.path.parent == folder}
    if (
        set(re.findall(r"def (test_\w+)", sources)) - seen
    ):  # pragma: no cover  # if only some of the tests run
        pytest.skip("Only a run of the whole folder sees everything.")
    assert protocol.documented == protocol.seen
