"""Tuning programs as users of Optuna write them, for `cargo xtask bench optuna lifecycle`; and Optuna's own server.

    tuner.py                        reads orders, one line of JSON each, and answers each with one
    tuner.py serve URL HOST PORT    serves Optuna's own gRPC proxy over a storage; `memory` is the one in memory

An order is {"storages": [URL, ..], "study": NAME, "processes": N, "seconds": S, "prunes": BOOL}, where grpc://HOST:PORT
is a storage behind a proxy. Process after process takes the next of the storages. Where an order prunes, a trial ends at
the first report after which successive halving says so; otherwise the verdict of the default pruner is asked for and not
followed, so that every trial has all of its reports. The answer is {"rate": TRIALS A SECOND, "trials": N, "processor":
SECONDS OF ALL PROCESSES TOGETHER}.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
import warnings
from typing import Any

# Once, before the processes are forked: it takes a second of a processor.
import grpc  # noqa: F401
import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy, InMemoryStorage
from optuna.trial import TrialState

REPORTS = 10
# Within so many seconds every program of an order is ready; one that is not has failed.
PATIENCE = 60.0
FORK = multiprocessing.get_context("fork")


def storage_of(url: str) -> BaseStorage:
    """The storage of a URL, with the cache that Optuna gives it."""
    if url == "memory":
        return InMemoryStorage()
    if url.startswith("grpc://"):
        host, _, port = url.removeprefix("grpc://").rpartition(":")
        return GrpcStorageProxy(host=host, port=int(port))
    return optuna.storages.get_storage(url)


def live(study: optuna.Study, prunes: bool) -> None:
    """The life of one trial."""
    trial = study.ask()
    x = trial.suggest_float("x", -1.0, 1.0)
    for step in range(1, REPORTS + 1):
        trial.report(x * x + 1.0 / step, step)
        if trial.should_prune() and prunes:
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, x * x)


def tune(url: str, name: str, seconds: float, prunes: bool, begin: Any, ended: Any) -> None:
    """One process's trials, for so long."""
    sampler = optuna.samplers.RandomSampler()
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3) if prunes else None
    study = optuna.load_study(study_name=name, storage=storage_of(url), sampler=sampler, pruner=pruner)
    begin.wait(PATIENCE)
    trials, begun, used = 0, time.monotonic(), time.process_time()
    while time.monotonic() - begun < seconds:
        live(study, prunes)
        trials += 1
    ended.put((trials, time.monotonic() - begun, time.process_time() - used))


def create(url: str, name: str) -> None:
    """Makes a study."""
    optuna.create_study(study_name=name, storage=storage_of(url))


def has_ended(trial: optuna.trial.FrozenTrial, prunes: bool) -> bool:
    """Whether a trial has its whole life behind it."""
    whole = trial.state == TrialState.COMPLETE and len(trial.intermediate_values) == REPORTS
    return whole or (prunes and trial.state == TrialState.PRUNED)


def check(url: str, name: str, trials: int, prunes: bool) -> None:
    """Whether the study has exactly the trials that its programs were told of."""
    study = optuna.load_study(study_name=name, storage=storage_of(url))
    ended = sum(has_ended(trial, prunes) for trial in study.get_trials(deepcopy=False))
    assert ended == trials, f"{ended} of {trials} trials have ended"


def alone(work: Any, *args: Any) -> None:
    """Does something in a process of its own: gRPC is not to be used before a fork."""
    process = FORK.Process(target=work, args=args)
    process.start()
    process.join()
    assert process.exitcode == 0, f"{work.__name__} failed"


def carry_out(order: dict[str, Any]) -> dict[str, float]:
    """Has so many processes work on one study."""
    storages, name, count = order["storages"], order["study"], order["processes"]
    alone(create, storages[0], name)
    begin, ended = FORK.Barrier(count), FORK.SimpleQueue()
    urls = [storages[number % len(storages)] for number in range(count)]
    seconds, prunes = order["seconds"], order["prunes"]
    workers = [FORK.Process(target=tune, args=(url, name, seconds, prunes, begin, ended), daemon=True) for url in urls]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers), "a program failed"
    told = [ended.get() for _ in workers]
    trials = sum(trials for trials, _, _ in told)
    alone(check, storages[0], name, trials, prunes)
    # Each goes on to the end of its last trial.
    rate = sum(trials / seconds for trials, seconds, _ in told)
    return {"rate": rate, "trials": trials, "processor": sum(used for _, _, used in told)}


def main() -> None:
    """Serves, or does what it is told."""
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if sys.argv[1:2] == ["serve"]:
        url, host, port = sys.argv[2:]
        optuna.storages.run_grpc_proxy_server(storage_of(url), host=host, port=int(port))
        return
    for line in sys.stdin:
        print(json.dumps(carry_out(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
