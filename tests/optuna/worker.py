"""A tuning program as a user of Optuna writes it: TPE and the median pruner on scikit-learn's digits.

    worker.py STORAGE STUDY TRIALS

Prints the number and the value of each of its trials that is complete.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from heats.optuna import HeatsStorage

EPOCHS = 6
DATA = load_digits()
X_TRAIN, X_TEST, Y_TRAIN, Y_TEST = train_test_split(DATA.data / 16, DATA.target, random_state=0)


def objective(trial: optuna.Trial) -> float:
    """The accuracy on what was held back."""
    alpha = trial.suggest_float("alpha", 1e-6, 1e-1, log=True)
    loss = trial.suggest_categorical("loss", ["hinge", "log_loss", "modified_huber"])
    model = SGDClassifier(alpha=alpha, loss=loss, random_state=0)
    accuracy = 0.0
    for epoch in range(EPOCHS):
        model.partial_fit(X_TRAIN, Y_TRAIN, classes=np.arange(10))
        accuracy = float(model.score(X_TEST, Y_TEST))
        trial.report(accuracy, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned
    print(trial.number, repr(accuracy), flush=True)
    return accuracy


def main() -> None:
    """Runs so many trials."""
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    addresses, name, trials = sys.argv[1:]
    study = optuna.load_study(
        study_name=name,
        storage=HeatsStorage(*addresses.split(",")),
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
    )
    study.optimize(objective, n_trials=int(trials))


if __name__ == "__main__":
    main()
