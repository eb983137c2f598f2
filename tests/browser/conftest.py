"""The real processes, and a real browser."""

from tests.journeys.conftest import site

__all__ = ["site"]
