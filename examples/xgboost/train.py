"""Boost trees on the breast-cancer data; the callback reports every round and stops when Heats says so."""

import heats
import xgboost
from heats.callbacks import XGBoost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

DEFAULTS = {
    "eta": 0.1,
    "max_depth": 4,
    "min_child_weight": 1.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "lambda": 1.0,
    "rounds": 100,
}


def main():
    rows, labels = load_breast_cancer(return_X_y=True)
    x_train, x_val, y_train, y_val = train_test_split(rows, labels, test_size=0.4, stratify=labels, random_state=0)
    train = xgboost.DMatrix(x_train, y_train)
    validation = xgboost.DMatrix(x_val, y_val)

    with heats.trial(defaults=DEFAULTS) as trial:
        params = dict(trial.params)
        rounds = params.pop("rounds")
        booster = xgboost.train(
            {
                **params,
                "objective": "binary:logistic",
                "eval_metric": ["logloss", "auc"],
                "seed": trial.seed,
                "nthread": 1,
            },
            train,
            num_boost_round=rounds,
            evals=[(train, "train"), (validation, "validation")],
            # `validation-logloss` is also reported as `logloss`: the sweep's objective.
            callbacks=[XGBoost(trial, logloss="validation-logloss")],
            verbose_eval=False,
        )
        booster.save_model(trial.output_dir / "model.json")


if __name__ == "__main__":
    main()
