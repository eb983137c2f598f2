"""Anything is killed or stopped at any moment under load: nothing is lost, nothing changes its place."""

import os
import random
import time

import pytest

from config.verify.processes import wait_until

#: Another seed, another history: `FAULTS_SEED=7 python -m pytest tests/faults`.
SEED = int(os.environ.get("FAULTS_SEED", "1"))
SECONDS, RATE, WRITERS = 15.0, 40.0, 2
#: The longest that a change may take, in seconds: the servers come back, and the workers, and find the rest.
LONGEST_LAG = 20.0


class Chaos:
    """Does one harm after another, and makes each good after a while."""

    def __init__(self, site, seed):
        self.site, self.random = site, random.Random(seed)
        self.done = []

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            harm = self.random.choice(
                (
                    self.kill_worker,
                    self.kill_worker,
                    self.freeze_worker,
                    self.kill_beat,
                    self.kill_redis,
                    self.kill_postgres,
                )
            )
            self.done.append(harm.__name__)
            harm()
            self.wait(0.3, 1.5)

    def wait(self, least, most):
        time.sleep(self.random.uniform(least, most))

    def kill_worker(self):
        name = self.random.choice(self.site.workers)
        self.site.kill(name)
        self.wait(0, 0.5)
        self.site.start(name)

    def freeze_worker(self):
        name = self.random.choice(self.site.workers)
        self.site.freeze(name)
        self.wait(0.5, 4)
        self.site.resume(name)

    def kill_beat(self):
        self.site.kill("beat")
        self.wait(0, 0.5)
        self.site.start("beat")

    def kill_redis(self):
        self.site.kill_redis()
        self.wait(0, 2)
        self.site.start_servers()

    def kill_postgres(self):
        self.site.kill_postgres()
        self.wait(0, 1)
        self.site.start_servers()


@pytest.mark.parametrize("turn", [1, 2])
def test_chaos(site, turn):
    """
    Two writers commit and roll back while workers, beat, Redis and PostgreSQL die: what was committed is
    published, once it can be, in order; what was not is not; and no row has failed.
    """
    writers = [site.write(seed=number, seconds=SECONDS, rate=RATE) for number in range(WRITERS)]
    projects = "SELECT count(*) FROM tickets_project"
    wait_until(lambda: site.query(projects) == [(WRITERS,)], "the writers are at it")
    chaos = Chaos(site, 100 * SEED + 10 * turn + len(site.workers))
    chaos.run(SECONDS)
    assert [0] * WRITERS == [writer.wait(60) for writer in writers]
    wait_until(site.is_drained, f"all is published after {chaos.done}")
    verdict = site.verdict()
    print(f"{len(site.workers)} workers, {chaos.done}: {verdict}")
    assert verdict.is_clean, chaos.done
    assert verdict.changes > RATE * WRITERS
    assert verdict.worst_lag < LONGEST_LAG
    assert [(0, 0)] == site.query(
        "SELECT count(failed_at), coalesce(max(attempts), 0) FROM outbox_notificationoutbox"
    )
