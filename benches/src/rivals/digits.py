"""The digits sweep and its imports without Heats, in the ways that others have. Prints seconds.

    digits.py bare TRIALS.json       the epochs that a sweep of Heats trained, in two processes that have imported already
    digits.py optuna FOLDER TRIALS   Optuna on SQLite in two processes, TPE and successive halving
    digits.py ray-reuse TRIALS       Ray Tune, ASHA, actors that are used again
    digits.py ray-function TRIALS    Ray Tune, ASHA, a function that is called in a process of its own for each trial
    digits.py ray-nothing TRIALS     Ray Tune, actors that are used again, trials that import scikit-learn and report once

Every way trains `examples/digits/train.py`'s model, by the same steps, on one thread per trial, two trials at once. The seconds are
those after the imports and the start of the framework, as far as the framework lets them be told apart.
"""

import json
import multiprocessing
import os
import pathlib
import random
import sys
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["RAY_AIR_NEW_OUTPUT"] = "0"

SLOTS = 2
EPOCHS = 9
ETA = 3
SEED = 7


class Model:
    """The classifier of `train.py`, one epoch at a time."""

    data = None

    def __init__(self, params, seed):
        import numpy as np
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
        from sklearn.neural_network import MLPClassifier
        from sklearn.preprocessing import StandardScaler

        images, labels = load_digits(return_X_y=True)
        x, self.x_val, self.y, self.y_val = train_test_split(
            images, labels, test_size=0.3, stratify=labels, random_state=0
        )
        scaler = StandardScaler().fit(x)
        self.x, self.x_val = scaler.transform(x), scaler.transform(self.x_val)
        self.classes = np.unique(self.y)
        self.model = MLPClassifier(
            hidden_layer_sizes=(params["width"],),
            activation=params["activation"],
            solver=params["opt"],
            learning_rate_init=params["lr"],
            momentum=params.get("momentum", 0.9),
            batch_size=params["batch"],
            alpha=params["alpha"],
            random_state=seed,
        )

    def epoch(self):
        from sklearn.metrics import accuracy_score, log_loss

        try:
            self.model.partial_fit(self.x, self.y, classes=self.classes)
            probabilities = self.model.predict_proba(self.x_val)
        except ValueError:
            return None
        log_loss(self.y_val, probabilities, labels=self.classes)
        return accuracy_score(self.y_val, self.classes[probabilities.argmax(axis=1)])


def ready(start):
    """Imports, and waits until all have."""
    Model({"width": 16, "activation": "relu", "opt": "adam", "lr": 1e-3, "batch": 128, "alpha": 1e-4}, 0).epoch()
    start.wait()


def in_processes(work, *args):
    """Seconds that `work` takes in each of the slots at once, from the moment when all have imported."""
    start = multiprocessing.Barrier(SLOTS + 1)
    processes = [multiprocessing.Process(target=work, args=(start, *args)) for _ in range(SLOTS)]
    for process in processes:
        process.start()
    start.wait()
    begun = time.perf_counter()
    for process in processes:
        process.join()
        assert process.exitcode == 0, process.exitcode
    return time.perf_counter() - begun


def bare(file):
    trials = json.loads(pathlib.Path(file).read_text())
    queue = multiprocessing.Queue()
    for trial in trials + [None] * SLOTS:
        queue.put(trial)
    return in_processes(bare_worker, queue)


def bare_worker(start, queue):
    ready(start)
    for trial in iter(queue.get, None):
        model = Model(trial["params"], trial["seed"])
        for _ in range(trial["epochs"]):
            model.epoch()


def with_optuna(folder, trials):
    import optuna

    storage = f"sqlite:///{folder}/optuna.db"
    optuna.create_study(storage=storage, study_name="digits", direction="maximize")
    return in_processes(optuna_worker, storage, int(trials))


def optuna_worker(start, storage, trials):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="digits",
        storage=storage,
        sampler=optuna.samplers.TPESampler(),
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA),
    )

    def objective(trial):
        params = {
            "lr": trial.suggest_float("lr", 1e-4, 1.0, log=True),
            "width": trial.suggest_int("width", 16, 256, step=16),
            "batch": trial.suggest_categorical("batch", [16, 32, 64, 128]),
            "alpha": trial.suggest_float("alpha", 1e-6, 1e-1, log=True),
            "activation": trial.suggest_categorical("activation", ["relu", "tanh", "logistic"]),
            "opt": trial.suggest_categorical("opt", ["adam", "sgd"]),
        }
        if params["opt"] == "sgd":
            params["momentum"] = trial.suggest_float("momentum", 0.0, 0.99)
        model = Model(params, trial.number)
        accuracy = 0.0
        for epoch in range(1, EPOCHS + 1):
            accuracy = model.epoch()
            if accuracy is None:
                raise optuna.TrialPruned
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return accuracy

    ready(start)
    stop = optuna.study.MaxTrialsCallback(trials, states=None)
    study.optimize(objective, callbacks=[stop])


def with_ray(trials, reuse, nothing):
    import ray
    from ray import tune

    ray.init(num_cpus=SLOTS, include_dashboard=False, log_to_driver=False)
    space = {
        "lr": tune.loguniform(1e-4, 1.0),
        "width": tune.qrandint(16, 256, 16),
        "batch": tune.choice([16, 32, 64, 128]),
        "alpha": tune.loguniform(1e-6, 1e-1),
        "activation": tune.choice(["relu", "tanh", "logistic"]),
        "opt": tune.choice(["adam", "sgd"]),
        "momentum": tune.uniform(0.0, 0.99),
    }

    class Trained(tune.Trainable):
        def setup(self, config):
            self.model = None if nothing else Model(config, random.randrange(1 << 30))
            if nothing:
                import sklearn.neural_network  # noqa: F401

        def step(self):
            accuracy = 0.0 if nothing else self.model.epoch() or 0.0
            return {"accuracy": accuracy, "done": nothing or self.iteration + 1 >= EPOCHS}

        def reset_config(self, config):
            self.setup(config)
            return True

        def save_checkpoint(self, folder):
            return folder

        def load_checkpoint(self, folder):
            pass

    def function(config):
        model = Model(config, random.randrange(1 << 30))
        for _ in range(EPOCHS):
            tune.report({"accuracy": model.epoch() or 0.0})

    scheduler = tune.schedulers.ASHAScheduler(max_t=EPOCHS, grace_period=1, reduction_factor=ETA)
    config = tune.TuneConfig(
        metric="accuracy",
        mode="max",
        num_samples=int(trials),
        scheduler=None if nothing else scheduler,
        max_concurrent_trials=SLOTS,
        reuse_actors=reuse,
    )
    tuner = tune.Tuner(Trained if reuse else function, param_space=space, tune_config=config)
    begun = time.perf_counter()
    results = tuner.fit()
    took = time.perf_counter() - begun
    assert len(results) == int(trials) and not results.errors, results.errors
    ray.shutdown()
    return took


WAYS = {
    "bare": bare,
    "optuna": with_optuna,
    "ray-reuse": lambda trials: with_ray(trials, reuse=True, nothing=False),
    "ray-function": lambda trials: with_ray(trials, reuse=False, nothing=False),
    "ray-nothing": lambda trials: with_ray(trials, reuse=True, nothing=True),
}

if __name__ == "__main__":
    print(WAYS[sys.argv[1]](*sys.argv[2:]))
