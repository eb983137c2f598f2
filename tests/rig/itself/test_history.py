"""Tests of the history, which is kept as JSON lines."""

import pytest

from tests.rig.history import (
    Broken,
    Committed,
    Followed,
    Observed,
    Published,
    Received,
    line,
    read,
    read_journal,
    write,
)

RECORDS = [
    Followed(client="kim", stream="ticket a", at=1.0),
    Committed(content="1", streams=("ticket a", "project.tickets b"), at=2.0),
    Published(stream="ticket a", offset=1, content="1", at=2.2),
    Received(client="kim", stream="ticket a", content="1", at=2.5),
    Broken(fault="kill_worker", at=2.0, until=3.0),
    Observed(client="kim", error="lost", what="stopped following"),
]


def test_records_are_read_as_they_were_written(tmp_path):
    """
    Records of each kind are equal after writing and reading.
    """
    write(RECORDS, tmp_path / "history.jsonl")
    assert RECORDS == list(read(tmp_path / "history.jsonl"))


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "{}", '{"kind": "lost"}', '{"kind": "observed", "who": "kim"}']
)
def test_a_malformed_line_is_an_error(tmp_path, text):
    """
    The error names the file, the line and the expected format.
    """
    path = tmp_path / "history.jsonl"
    write(RECORDS[:1], path)
    path.write_text(f"{path.read_text()}{text}\n")
    with pytest.raises(
        ValueError, match="line 2: expected a JSON object whose kind is one of comm"
    ):
        list(read(path))


def test_an_incomplete_line_of_a_journal_is_ignored(tmp_path):
    """
    A process that is killed while it writes leaves half a line, after which others continue.
    """
    path = tmp_path / "journal"
    assert [] == [*read_journal(path)]
    published = Published(stream="a", offset=1, content="x", at=1.0)
    path.write_text(f'\n{line(published)}{line(published)[:20]}\n{line(published)}{{"kind": "pub')
    assert [published] * 2 == [*read_journal(path)]
