"""The metrics as tests read them: by how much they grew, and their names."""

import http.client
from typing import Any

from prometheus_client import REGISTRY

from tests.waiting import PATIENCE


class Metric:
    """One series of this process, given by its name in Prometheus and its labels."""

    def __init__(self, name: str, **labels: str) -> None:
        self.name, self.labels = name, labels
        self.before = self.value

    @property
    def value(self) -> float:
        return REGISTRY.get_sample_value(self.name, self.labels) or 0.0

    @property
    def grown(self) -> float:
        """The growth since this property, or the constructor, was last used."""
        before, self.before = self.before, self.value
        return self.before - before


def series(text: str) -> dict[str, float]:
    """Return the values in the text format of Prometheus, by name and labels as written there."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def scraped(port: int) -> dict[str, float]:
    """Return the values that a local process exposes at a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert 200 == answer.status
        return series(answer.read().decode())
    finally:
        connection.close()


def names(registry: Any = REGISTRY) -> dict[str, str]:
    """Return our metrics: their types by their names in Prometheus."""
    found = {}
    for metric in registry.collect():
        if metric.name.startswith("notifier_"):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            found[name] = metric.type
    return found
