"""Optuna's own samplers and pruners on studies in memory, as they grow, for `cargo xtask bench ask verdicts`.

Reads orders, one line of JSON each, and answers each with one:

    {"history": FILE, "trials": N}     a study of the first so many trials of a file, whose first line is the space
    {"asks": M, "trials": N}           so many suggestions, one after the other, on that study
    {"prunes": RULE, "trials": N, "verdicts": M}
                                       so many verdicts of `median` or `halving`, on a study of so many finished trials

The answer is {"seconds": OF ONE SUGGESTION OR VERDICT, IN THE MEAN}; 0 where a study is made.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from itertools import islice
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

REPORTS = 10


def distribution(domain: dict[str, Any]) -> BaseDistribution:
    """What Optuna calls a domain."""
    if "choices" in domain:
        return CategoricalDistribution(domain["choices"])
    kind = IntDistribution if domain["kind"] == "int" else FloatDistribution
    return kind(domain["low"], domain["high"], log=domain["log"])


class Asked:
    """A study with the default sampler, which learns from finished trials."""

    def __init__(self, file: str, trials: int) -> None:
        self.study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1))
        with open(file, encoding="utf-8") as lines:
            space = json.loads(next(lines))
            self.space = {name: distribution(domain) for name, domain in space.items()}
            for line in islice(lines, trials):
                trial = json.loads(line)
                self.study.add_trial(
                    create_trial(params=trial["params"], distributions=self.space, value=trial["loss"])
                )

    def ask(self, asks: int) -> float:
        """Seconds for one suggestion. What was asked for fails, so that the study keeps what it knows."""
        used = 0.0
        for _ in range(asks):
            begun = time.perf_counter()
            trial = self.study.ask(self.space)
            used += time.perf_counter() - begun
            self.study.tell(trial, state=TrialState.FAIL)
        return used / asks


def prune(rule: str, trials: int, verdicts: int) -> float:
    """Seconds for one verdict."""
    pruners = {"median": optuna.pruners.MedianPruner, "halving": optuna.pruners.SuccessiveHalvingPruner}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1), pruner=pruners[rule]())
    for number in range(trials):
        loss = (number * 7919 % trials) / trials
        steps = {step: loss + 1.0 / (step + 1) for step in range(REPORTS)}
        # What the rule itself notes of a trial at its first rung.
        noted = {"completed_rung_0": steps[1]} if rule == "halving" else {}
        study.add_trial(create_trial(value=loss, intermediate_values=steps, system_attrs=noted))
    used = 0.0
    for number in range(verdicts):
        trial = study.ask()
        trial.report((number * 31 % verdicts) / verdicts + 0.5, 1)
        begun = time.perf_counter()
        trial.should_prune()
        used += time.perf_counter() - begun
        study.tell(trial, state=TrialState.FAIL)
    return used / verdicts


def main() -> None:
    """Does what it is told."""
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies: dict[int, Asked] = {}
    for line in sys.stdin:
        order = json.loads(line)
        seconds = 0.0
        if "history" in order:
            studies[order["trials"]] = Asked(order["history"], order["trials"])
        elif "asks" in order:
            seconds = studies[order["trials"]].ask(order["asks"])
        else:
            seconds = prune(order["prunes"], order["trials"], order["verdicts"])
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
