"""Trials whose program is gone, by heartbeats and Optuna's own callback."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import heats.optuna
import optuna
import pytest
from cluster import PATIENCE, Cluster
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import TrialState

from heats.optuna import HeatsStorage

# A program that is killed in the middle of its trial. Heartbeats come from Optuna's own thread.
DOOMED = """
import sys, time, optuna
from heats.optuna import HeatsStorage
study = optuna.load_study(study_name=sys.argv[1], storage=HeatsStorage(*sys.argv[2:], heartbeat_interval=1))
def objective(trial):
    trial.suggest_float("x", 0, 1)
    trial.report(0.5, 1)
    print("runs", flush=True)
    time.sleep(3600)
study.optimize(objective, n_trials=1)
"""


class Clock:
    """The clock that the storage sees."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Seconds since whenever."""
        return self.now

    def time(self) -> float:
        """The time of the day, which is another each time."""
        return time.time()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """A clock that stands still unless it is told otherwise."""
    clock = Clock()
    monkeypatch.setattr(heats.optuna, "time", clock)
    yield clock


def _states(study: optuna.Study) -> list[TrialState]:
    return [trial.state for trial in study.get_trials(deepcopy=False)]


def test_a_trial_whose_program_was_killed_is_failed_as_lost_and_tried_again_by_optunas_callback(
    three: Cluster,
) -> None:
    retry = RetryHeartbeatStaleTrialCallback(max_retry=1)
    storage = HeatsStorage(*three.hosts, heartbeat_interval=1, grace_period=2, heartbeat_stale_trial_callback=retry)
    study = optuna.create_study(study_name="doomed", storage=storage)
    for attempt in range(2):
        if attempt == 0:
            study.enqueue_trial({"x": 0.25})
        command = [sys.executable, "-c", DOOMED, "doomed", *three.hosts]
        program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert program.stdout is not None and program.stdout.readline() == "runs\n"
        program.kill()
        program.wait()
        until = time.monotonic() + PATIENCE
        while _states(study)[attempt] == TrialState.RUNNING:
            assert time.monotonic() < until, study.trials
            fail_stale_trials(study)

    # The one that was killed first was tried again, and that trial, killed as well, was one too many.
    assert _states(study) == [TrialState.FAIL, TrialState.FAIL]
    lost, again = study.trials
    assert lost.system_attrs["heats:failure"] == "node_lost: no heartbeat for more than 2 s"
    assert again.params == lost.params == {"x": 0.25}
    assert RetryHeartbeatStaleTrialCallback.retried_trial_number(again) == 0
    assert RetryHeartbeatStaleTrialCallback.retry_history(again) == [0]
    storage.close()


def test_a_trial_is_stale_when_its_heartbeat_has_not_changed_for_longer_than_the_grace_period(
    three: Cluster, clock: Clock
) -> None:
    storage = HeatsStorage(*three.hosts, heartbeat_interval=60, grace_period=100)
    study = optuna.create_study(study_name="beats", storage=storage)
    lives, lost, silent = (study.ask()._trial_id for _ in range(3))

    def stale() -> list[int]:
        return storage._get_stale_trial_ids(study._study_id)

    storage.record_heartbeat(lives)
    storage.record_heartbeat(lost)
    assert stale() == []
    clock.now += 99
    storage.record_heartbeat(lives)
    assert stale() == []
    clock.now += 2
    assert stale() == [lost]
    # The one without heartbeats is of a program that sends none.
    assert storage.get_trial(silent).state == TrialState.RUNNING
    storage.set_trial_state_values(lost, TrialState.FAIL)
    assert stale() == []
    clock.now += 98
    assert stale() == []
    clock.now += 2
    assert stale() == [lives]
    # Of a trial that is over, and of one that is not there any more, nothing is to be said.
    storage.record_heartbeat(lost)
    optuna.delete_study(study_name="beats", storage=storage)
    storage.record_heartbeat(lives)
    storage.close()


def test_a_retried_trial_does_not_inherit_why_the_first_one_failed(three: Cluster, clock: Clock) -> None:
    retry = RetryHeartbeatStaleTrialCallback()
    storage = HeatsStorage(*three.hosts, heartbeat_interval=60, heartbeat_stale_trial_callback=retry)
    study = optuna.create_study(study_name="inherits", storage=storage)
    storage.record_heartbeat(study.ask()._trial_id)
    fail_stale_trials(study)
    clock.now += 121
    fail_stale_trials(study)
    assert _states(study) == [TrialState.FAIL, TrialState.WAITING]
    assert study.trials[1].system_attrs == {"failed_trial": 0, "retry_history": [0]}
    # Nothing was lost twice, and what waits is run.
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert _states(study) == [TrialState.FAIL, TrialState.COMPLETE]
    assert "heats:heartbeat" in study.trials[1].system_attrs
    storage.close()


def test_without_an_interval_there_are_no_heartbeats(three: Cluster) -> None:
    storage = HeatsStorage(*three.hosts)
    study = optuna.create_study(study_name="none", storage=storage)
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert study.trials[0].system_attrs == {}
    with pytest.raises(ValueError, match="heartbeat_interval"):
        HeatsStorage(*three.hosts, heartbeat_interval=0)
    storage.close()
