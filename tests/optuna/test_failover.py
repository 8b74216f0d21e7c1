"""A real study while the leader is killed again and again: it ends with exactly its trials.

The short form runs for some ten seconds. `HEATS_FAILOVER=long` is 16 processes, 480 trials, a kill every ten seconds:

    HEATS_FAILOVER=long cargo xtask verify optuna
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
from cluster import Cluster
from optuna.trial import TrialState

from heats.optuna import HeatsStorage

LONG = os.environ.get("HEATS_FAILOVER") == "long"
PROCESSES, TRIALS, EVERY = (16, 30, 10.0) if LONG else (3, 12, 2.0)
PATIENCE = 1_800.0


def test_the_leader_is_killed_again_and_again_and_no_trial_is_lost_or_made_twice(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, 3, block=2)
    try:
        addresses = ",".join(f"{host}:13000" for host in cluster.hosts)
        storage = HeatsStorage(*addresses.split(","))
        study = optuna.create_study(study_name="digits", storage=storage, direction="maximize")
        worker = [sys.executable, str(Path(__file__).parent / "worker.py"), addresses, "digits", str(TRIALS)]
        start = lambda: subprocess.Popen(worker, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: E731
        workers = [start() for _ in range(PROCESSES)]
        kills, until = 0, time.monotonic() + PATIENCE
        while any(worker.poll() is None for worker in workers):
            assert time.monotonic() < until, cluster.logs()
            leader = cluster.leader()
            cluster.kill(leader)
            kills += 1
            # The moment of the next kill is the choice; there is nothing to wait for.
            time.sleep(EVERY / 2)
            cluster.start(leader)
            time.sleep(EVERY / 2)
        said = [worker.communicate()[0] for worker in workers]
        assert all(worker.returncode == 0 for worker in workers), "\n".join(said)
        assert kills > 1

        trials = study.get_trials()
        assert len(trials) == PROCESSES * TRIALS
        assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
        assert [trial.number for trial in trials] == list(range(PROCESSES * TRIALS))
        measured = dict(line.split() for text in said for line in text.splitlines())
        complete = {trial.number: trial.value for trial in trials if trial.state == TrialState.COMPLETE}
        assert complete == {int(number): float(value) for number, value in measured.items()}
        assert study.best_value == max(complete.values())
    finally:
        cluster.close()
