"""One trial: boost trees. By hand: `python train.py --eta=0.1 --rounds=50`."""

import heats
import xgboost
from heats.callbacks import XGBoost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

# Outside Heats these are the parameters.
DEFAULTS = {
    "eta": 0.1,
    "max_depth": 4,
    "min_child_weight": 1.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "rounds": 243,
}

# Your data goes here. Keep the split the same for all trials, or their scores cannot be compared.
x, y = load_breast_cancer(return_X_y=True)
x_train, x_val, y_train, y_val = train_test_split(x, y, test_size=0.3, stratify=y, random_state=0)
train = xgboost.DMatrix(x_train, y_train)
validation = xgboost.DMatrix(x_val, y_val)

with heats.trial(defaults=DEFAULTS) as trial:
    params = dict(trial.params)
    rounds = params.pop("rounds")
    fixed = {"objective": "binary:logistic", "eval_metric": "logloss", "seed": trial.seed, "nthread": 1}
    booster = xgboost.train(
        {**params, **fixed},
        train,
        num_boost_round=rounds,
        evals=[(validation, "validation")],
        # Reports every round, `validation-logloss` also as `logloss`, and stops the training when Heats says so.
        callbacks=[XGBoost(trial, logloss="validation-logloss")],
    )
    booster.save_model(trial.output_dir / "model.json")
