"""Progress without a terminal."""

import io

from django.core.management.base import OutputWrapper

from pillarbox.management.progress import Progress


def test_progress_without_a_terminal_is_a_line_now_and_then():
    """
    The log gets few lines; an empty replay is 100 percent done.
    """
    stdout = io.StringIO()
    progress = Progress(OutputWrapper(stdout), 0)
    progress.show(0, "waiting")
    progress.show(1)
    progress.close()
    assert "0 of 0 waiting\n" == stdout.getvalue()
