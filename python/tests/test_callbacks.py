"""The callbacks: what they report, and that they stop. XGBoost itself is not needed."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import World

import heats
from heats import callbacks


class TrainingCallback:
    """What XGBoost's class of this name does, as far as a callback can tell."""

    def before_training(self, model: Any) -> Any:
        return model

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        return False


class Booster:
    """A model that counts its rounds, those of an earlier training included."""

    def __init__(self, rounds: int = 0) -> None:
        self.rounds = rounds

    def num_boosted_rounds(self) -> int:
        return self.rounds


@pytest.fixture
def xgboost(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = types.ModuleType("xgboost")
    module.callback = types.SimpleNamespace(TrainingCallback=TrainingCallback)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "xgboost", module)
    callbacks._xgboost_callback.cache_clear()
    yield
    callbacks._xgboost_callback.cache_clear()


def train(callback: Any, rounds: int, model: Any = None) -> int:
    """Runs the callback as `xgboost.train` does; the number of rounds that were run."""
    assert isinstance(callback, TrainingCallback)
    model = callback.before_training(model or Booster())
    log: dict[str, dict[str, list[Any]]] = {"train": {"logloss": []}, "val": {"logloss": [], "auc": []}}
    for epoch in range(rounds):
        model.rounds += 1
        log["train"]["logloss"].append(0.5 / (epoch + 1))
        log["val"]["logloss"].append(0.6 / (epoch + 1))
        log["val"]["auc"].append((0.9, 0.01))
        if callback.after_iteration(model, epoch, log):
            return epoch + 1
    return rounds


@pytest.mark.usefixtures("xgboost")
def test_each_round_is_reported_by_its_datasets_and_by_chosen_names(agent: World) -> None:
    with heats.trial() as t:
        assert train(callbacks.XGBoost(t, loss="val-logloss"), 2) == 2
    assert agent.record.bodies("/v1/report")[1] == {
        "step": 2,
        "metrics": {"train-logloss": 0.25, "val-logloss": 0.3, "val-auc": 0.9, "loss": 0.3},
        "wait": False,
    }


@pytest.mark.usefixtures("xgboost")
def test_training_ends_when_the_sweep_has_seen_enough(agent: World) -> None:
    agent.record.stop_from_step = 3
    with heats.trial() as t:
        assert train(callbacks.XGBoost(t), 10) == 3


@pytest.mark.usefixtures("xgboost")
def test_rounds_are_counted_on_from_an_earlier_model(agent: World) -> None:
    with heats.trial() as t:
        train(callbacks.XGBoost(t), 2, Booster(rounds=5))
    assert [body["step"] for body in agent.record.bodies("/v1/report")] == [6, 7]


@pytest.mark.usefixtures("xgboost")
def test_a_metric_that_is_not_there_is_an_error_that_lists_those_that_are(agent: World) -> None:
    with heats.trial() as t:
        with pytest.raises(ValueError, match="no metric `val-rmse`; there are: train-logloss, val-logloss, val-auc"):
            train(callbacks.XGBoost(t, loss="val-rmse"), 1)
        with pytest.raises(ValueError, match="pass `evals="):
            callbacks.XGBoost(t).after_iteration(Booster(), 0, {})


def test_the_real_xgboost_takes_the_callback(agent: World) -> None:
    xgboost = pytest.importorskip("xgboost")
    numpy = pytest.importorskip("numpy")
    agent.record.stop_from_step = 4
    rows = numpy.arange(40.0).reshape(20, 2)
    data = xgboost.DMatrix(rows, rows[:, 0] > 20)
    params = {"objective": "binary:logistic", "eval_metric": "logloss", "nthread": 1}
    with heats.trial() as t:
        callback = callbacks.XGBoost(t, loss="val-logloss")
        booster = xgboost.train(params, data, 10, evals=[(data, "val")], callbacks=[callback], verbose_eval=False)
        assert booster.num_boosted_rounds() == 4
    agent.record.stop_from_step = 6
    with heats.trial() as t:
        more = {"xgb_model": booster, "callbacks": [callbacks.XGBoost(t)], "verbose_eval": False}
        assert xgboost.train(params, data, 9, evals=[(data, "val")], **more).num_boosted_rounds() == 6
    agent.record.stop_from_step = 2
    with heats.trial() as t:
        scores = xgboost.cv(params, data, 9, nfold=2, as_pandas=False, callbacks=[callbacks.XGBoost(t)])
        assert len(scores["test-logloss-mean"]) == 2
    assert [body["step"] for body in agent.record.bodies("/v1/report")] == [1, 2, 3, 4, 5, 6, 1, 2]


class Estimator:
    """An estimator that learns to count."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> None:
        self.seen.append((X, y, classes))

    def score(self, X: Any, y: Any) -> float:
        return len(self.seen) / 10


def test_partial_fit_reports_each_epoch_and_stops(agent: World) -> None:
    agent.record.stop_from_step = 3
    with heats.trial() as t:
        fitted = callbacks.partial_fit(
            t, Estimator(), "X", "y", "XV", "yv", epochs=9, classes=[0, 1], metric="val_accuracy"
        )
    assert fitted.seen == [("X", "y", [0, 1])] * 3
    reports = [(body["step"], body["metrics"]) for body in agent.record.bodies("/v1/report")]
    assert reports == [(1, {"val_accuracy": 0.1}), (2, {"val_accuracy": 0.2}), (3, {"val_accuracy": 0.3})]


def test_partial_fit_takes_a_scorer_and_goes_on_from_its_checkpoint(
    agent: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scorer(estimator: Estimator, X: str, y: str) -> float:
        assert (X, y) == ("XV", "yv")
        return -float(len(estimator.seen))

    def fit(t: heats.Trial, epochs: int) -> Any:
        return callbacks.partial_fit(
            t, Estimator(), "X", "y", "XV", "yv", epochs=epochs, scorer=scorer, checkpoints=True
        )

    with heats.trial() as t:
        fit(t, 2)
    monkeypatch.setenv("HEATS_RESUME_FROM", agent.record.bodies("/v1/checkpoint")[-1]["path"])
    monkeypatch.setenv("HEATS_RESUME_STEP", "2")
    with heats.trial() as t:
        assert fit(t, 4).seen == [("X", "y", None)] * 4
    reports = [(body["step"], body["metrics"]["val_score"]) for body in agent.record.bodies("/v1/report")]
    assert reports == [(1, -1.0), (2, -2.0), (3, -3.0), (4, -4.0)]
