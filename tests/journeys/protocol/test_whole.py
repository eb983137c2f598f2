"""All that the README says of the protocol was said by a real Daphne, and nothing else: the last to run."""

import re
from pathlib import Path

import pytest

#: Else it would come before the others, which it is about.
pytestmark = pytest.mark.django_db(transaction=True)


def test_all_that_is_documented_is_so(request, protocol):
    """
    Each frame, field, reason, error code and close code of the README was seen in this folder's tests.
    """
    folder = Path(__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("test_*.py"))
    seen = {it.originalname for it in request.session.items if it.path.parent == folder}
    if set(re.findall(r"def (test_\w+)", sources)) - seen:  # pragma: no cover  # in a part of a run
        pytest.skip("Only the whole folder has seen everything.")
    assert protocol.documented == protocol.seen
