"""A history is kept as JSON lines."""

import pytest

from config.verify.history import Committed, Followed, Harmed, Observed, Received, read, write

RECORDS = [
    Followed(client="kim", stream="ticket a", at=1.0),
    Committed(content="1", streams=("ticket a", "project.tickets b"), at=2.0),
    Received(client="kim", stream="ticket a", content="1", at=2.5),
    Harmed(harm="kill_worker", at=2.0, until=3.0),
    Observed(client="kim", error="lost", what="was sent away"),
]


def test_what_is_written_is_read(tmp_path):
    """
    Each kind of record comes back as it was.
    """
    write(RECORDS, tmp_path / "history.jsonl")
    assert RECORDS == list(read(tmp_path / "history.jsonl"))


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", "{}", '{"kind": "lost"}', '{"kind": "observed", "who": "kim"}']
)
def test_a_line_that_is_none(tmp_path, line):
    """
    The error names the file, the line and what is expected.
    """
    path = tmp_path / "history.jsonl"
    write(RECORDS[:1], path)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(
        ValueError, match="line 2: expected a JSON object whose kind is one of foll"
    ):
        list(read(path))
