"""Studies through the command `heats`, and sweeps through Optuna."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import grpc
import optuna
import pytest
from cluster import Cluster
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import GrpcStorageProxy
from optuna.trial import TrialState

SWEEP = """
version: 1
name: halved
command: [sh, -c, 'for s in 1 2 3; do echo "::metric step=$s loss=$HEATS_PARAM_X"; done']
space: { x: { int: [1, 9] }, lr: { float: [1e-4, 1.0], log: true }, opt: { choice: [adam, sgd] } }
objective: { minimize: loss }
search: { algorithm: random, seed: 3 }
budget: { trials: 6 }
"""


def _objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -2, 2)
    kind = trial.suggest_categorical("kind", ["a", None, 3])
    trial.report(x * x, 1)
    if trial.number == 3:
        raise optuna.TrialPruned
    return x * x + (1 if kind is None else 0)


def test_users_of_heats_see_a_study_as_a_sweep(mixed: Cluster) -> None:
    storage = GrpcStorageProxy(host=mixed.hosts[2], port=13000)
    study = optuna.create_study(study_name="seen", storage=storage, sampler=optuna.samplers.RandomSampler(seed=1))
    study.enqueue_trial({"x": 0.5, "kind": "a"})
    study.optimize(_objective, n_trials=6)
    study.ask()

    items = json.loads(mixed.heats("ls", "-o", "json"))["sweeps"]
    seen = next(item for item in items if item["name"] == "seen")
    assert (seen["status"], seen["done"], seen["counts"]["running"], seen["metric"]) == ("running", 6, 1, "value")
    assert (seen["best"]["number"], seen["best"]["value"]) == (study.best_trial.number, study.best_value)
    assert json.loads(mixed.heats("show", "seen", "-o", "json"))["sweep"]["direction"] == "minimize"
    best = json.loads(mixed.heats("best", "seen", "-n", "2", "-o", "json"))["trials"]
    ranked = sorted(trial.value for trial in study.trials if trial.state == TrialState.COMPLETE)
    assert [item["value"] for item in best] == ranked[:2]
    trials = json.loads(mixed.heats("trials", "seen", "--where", 'state == "stopped"', "-o", "json"))["trials"]
    assert [item["number"] for item in trials] == [3]
    rows = list(csv.DictReader(io.StringIO(mixed.heats("export", "seen", "-f", "csv"))))
    assert [row["params.x"] for row in rows[:6]] == [repr(trial.params["x"]) for trial in study.trials[:6]]
    shown = json.loads(mixed.heats("show", "seen/0", "-o", "json"))["trial"]
    assert (shown["params"], shown["state"]) == ({"x": 0.5, "kind": "a"}, "completed")
    assert "made trial 6" in mixed.heats("events", "seen")

    mixed.heats("rm", "seen")
    with pytest.raises(KeyError):
        optuna.load_study(study_name="seen", storage=storage)
    storage.close()


def test_optuna_reads_a_sweep_and_does_not_change_it(mixed: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    agent = mixed.agent()
    mixed.heats("submit", str(tmp_path / "sweep.yaml"), "-w")
    mixed.stop(agent)
    storage = GrpcStorageProxy(host=mixed.hosts[0], port=13000)
    study = optuna.load_study(study_name="halved", storage=storage)
    trials = json.loads(mixed.heats("trials", "halved", "-o", "json"))["trials"]

    assert [trial.value for trial in study.trials] == [item["value"] for item in trials]
    assert [trial.params for trial in study.trials] == [item["params"] for item in trials]
    assert study.best_trial.number == json.loads(mixed.heats("best", "halved", "-o", "json"))["trials"][0]["number"]
    first = study.trials[0]
    assert first.distributions == {
        "x": IntDistribution(1, 9),
        "lr": FloatDistribution(1e-4, 1.0, log=True),
        "opt": CategoricalDistribution(["adam", "sgd"]),
    }
    assert first.intermediate_values == dict.fromkeys((1, 2, 3), first.value)
    assert first.datetime_start is not None and first.datetime_complete is not None
    assert study.metric_names == ["loss"]
    assert storage.get_trial(first._trial_id) == first
    assert storage.get_trial_id_from_study_id_trial_number(study._study_id, 0) == first._trial_id
    # What a client has seen is not sent again.
    assert len(study.get_trials()) == 6

    with pytest.raises(grpc.RpcError, match="FAILED_PRECONDITION"):
        study.set_user_attr("k", 1)
    with pytest.raises(grpc.RpcError, match="FAILED_PRECONDITION"):
        study.ask()
    storage.close()


def test_a_name_means_one_thing(mixed: Cluster, tmp_path: Path) -> None:
    storage = GrpcStorageProxy(host=mixed.hosts[0], port=13000)
    optuna.create_study(study_name="taken", storage=storage)
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("halved", "taken"))
    with pytest.raises(AssertionError, match="H0003"):
        mixed.heats("submit", str(tmp_path / "sweep.yaml"))
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("halved", "waits"))
    mixed.heats("submit", str(tmp_path / "sweep.yaml"))
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        optuna.create_study(study_name="waits", storage=storage)
    mixed.heats("cancel", "waits")
    mixed.heats("rm", "waits", "taken")
    storage.close()
