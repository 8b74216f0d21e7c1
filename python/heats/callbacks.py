"""Reporting from libraries that own the training loop: XGBoost, and scikit-learn's ``partial_fit``.

Imports neither: the library is looked for when its function is called.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from heats._trial import Trial

_ESTIMATOR_FILE = "estimator.pkl"


def XGBoost(trial: Trial, **names: str) -> Any:  # noqa: N802 - it stands where a class name does
    """A callback for ``xgboost.train(..., callbacks=[XGBoost(trial)])``, or for an estimator's ``callbacks``.

    Reports the evaluation metrics after each boosting round, the step being the number of rounds so far, and
    ends the training when Heats says to stop. Each metric is called ``dataset-metric``, as XGBoost prints it
    (``validation-logloss``); ``names`` give one a second name for the sweep's objective:
    ``XGBoost(trial, val_loss="validation-logloss")``.

    Raises:
        ImportError: there is no ``xgboost``.
    """
    return _xgboost_callback()(trial, names)


@functools.lru_cache(maxsize=1)
def _xgboost_callback() -> Any:
    import xgboost

    base: Any = xgboost.callback.TrainingCallback

    class HeatsCallback(base):  # type: ignore[misc, unused-ignore]
        def __init__(self, trial: Trial, names: Mapping[str, str]) -> None:
            super().__init__()
            self._trial = trial
            self._names = names

        def after_iteration(self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[Any]]]) -> bool:
            metrics = {
                f"{dataset}-{metric}": _mean(values[-1])
                for dataset, by_metric in evals_log.items()
                for metric, values in by_metric.items()
            }
            if not metrics:
                raise ValueError("XGBoost evaluated nothing: pass `evals=[(validation, 'validation')]`")
            for name, source in self._names.items():
                if source not in metrics:
                    raise ValueError(f"XGBoost has no metric `{source}`; there are: {', '.join(metrics)}")
                metrics[name] = metrics[source]
            should_stop = self._trial.report(_rounds(model, epoch), metrics).should_stop
            if should_stop and hasattr(model, "cvfolds"):
                # Cross-validation that is stopped reads this, and fails where it is not set.
                model.set_attr(best_iteration=str(epoch))
            return should_stop

    return HeatsCallback


def _mean(value: Any) -> Any:
    # Cross-validation logs pairs of mean and standard deviation.
    return value[0] if isinstance(value, tuple) else value


def _rounds(model: Any, epoch: int) -> int:
    # A training that goes on from a model counts its epochs from 0 again, and the model its rounds from the start.
    counted = getattr(model, "num_boosted_rounds", None)
    return int(counted()) if callable(counted) else epoch + 1


def partial_fit(
    trial: Trial,
    estimator: Any,
    X: Any,  # noqa: N803 - scikit-learn's names
    y: Any,
    X_val: Any,  # noqa: N803
    y_val: Any,
    *,
    epochs: int,
    classes: Any = None,
    metric: str = "val_score",
    scorer: Optional[Callable[[Any, Any, Any], float]] = None,
    checkpoints: bool = False,
) -> Any:
    """Trains a scikit-learn estimator with ``partial_fit``, an epoch at a time, and reports after each.

    Args:
        trial: what reports.
        estimator: anything with ``partial_fit``.
        X: the training rows.
        y: their targets.
        X_val: the rows to score on.
        y_val: their targets.
        epochs: how often to go through the training rows; steps are counted from 1.
        classes: all class labels, for classifiers; the first ``partial_fit`` needs them.
        metric: the name under which the score is reported.
        scorer: called with estimator, ``X_val`` and ``y_val``, as those of ``sklearn.metrics``; the estimator's
            own ``score`` without it.
        checkpoints: pickle the estimator after each epoch, and go on from there in a later attempt.

    Returns:
        The trained estimator: another object than the one given where the training went on from a checkpoint.
    """
    first = 1
    if checkpoints and trial.resume:
        estimator = pickle.loads((trial.resume.path / _ESTIMATOR_FILE).read_bytes())
        first = trial.resume.step + 1
    for epoch in range(first, epochs + 1):
        if classes is None:
            estimator.partial_fit(X, y)
        else:
            estimator.partial_fit(X, y, classes=classes)
        score = estimator.score(X_val, y_val) if scorer is None else scorer(estimator, X_val, y_val)
        if checkpoints:
            with trial.checkpoint(epoch) as folder:
                (folder / _ESTIMATOR_FILE).write_bytes(pickle.dumps(estimator))
        if trial.report(epoch, {metric: score}).should_stop:
            break
    return estimator
