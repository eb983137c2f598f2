"""What a test sees of the metrics: by how much they grew."""

import http.client
from typing import Any

from prometheus_client import REGISTRY

from tests.waiting import PATIENCE


class Metric:
    """One series of this process, from now on: its name as Prometheus has it, and its labels."""

    def __init__(self, name: str, **labels: str) -> None:
        self.name, self.labels = name, labels
        self.before = self.value

    @property
    def value(self) -> float:
        return REGISTRY.get_sample_value(self.name, self.labels) or 0.0

    @property
    def grown(self) -> float:
        """How much it grew since the last time that it was asked."""
        before, self.before = self.before, self.value
        return self.before - before


def series(text: str) -> dict[str, float]:
    """Return the values in what Prometheus reads, by name and labels as they stand there."""
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def scraped(port: int) -> dict[str, float]:
    """Return the values that a process of this machine shows at a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert 200 == answer.status
        return series(answer.read().decode())
    finally:
        connection.close()


def names(registry: Any = REGISTRY) -> dict[str, str]:
    """Return the names of our metrics, as Prometheus has them, with what they are."""
    found = {}
    for metric in registry.collect():
        if metric.name.startswith("notifier_"):
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            found[name] = metric.type
    return found
