"""A project whose Celery has tasks of its own, and a configuration that would keep ours from running."""
