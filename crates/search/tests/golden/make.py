"""Makes the files beside it: reports of made-up trials, and what the implementations that our stoppers follow decided
about them. They are other people's code, driven here one report at a time; Heats has no part in it.

    pip install 'ray[tune]==2.60.0' optuna==5.0.0 scipy==1.17.1 numpy==2.4.6 && python make.py

What it makes is the same each time. The format of a trace is explained in ../golden.rs, which reads them."""

import json
import math
import pathlib
import random
import warnings

import numpy as np
import optuna
import ray
import scipy
from ray.tune.schedulers import AsyncHyperBandScheduler, MedianStoppingRule, TrialScheduler

HERE = pathlib.Path(__file__).parent
RAY = f"ray {ray.__version__}, numpy {np.__version__}"
OPTUNA = f"optuna {optuna.__version__}, scipy {scipy.__version__}"
WORKERS = 8


class Trial:
    """As much of Ray's trial as its schedulers look at."""

    def __init__(self, number):
        self.trial_id = str(number)


class Ray:
    """One of Ray's schedulers without Ray's cluster."""

    def __init__(self, kind, **options):
        self.scheduler = kind(time_attr="step", metric="value", **options)
        self.trials = {}

    # What a scheduler asks its controller for: whether others wait for a place.
    def get_live_trials(self):
        return []

    def trial(self, number):
        if number not in self.trials:
            self.trials[number] = Trial(number)
            self.scheduler.on_trial_add(self, self.trials[number])
        return self.trials[number]

    def stops(self, number, step, value):
        result = {"step": step, "value": value}
        return self.scheduler.on_trial_result(self, self.trial(number), result) == TrialScheduler.STOP

    def ended(self, number, step, value):
        """Only some of the differences tell it: it takes the last report in a second time."""
        self.scheduler.on_trial_complete(self, self.trial(number), {"step": step, "value": value})


class Asha(Ray):
    """`ladders` says which trial climbs which of them; without it, Ray draws."""

    def __init__(self, direction, min, max, eta, brackets=1, ladders=None):
        mode = "min" if direction == "minimize" else "max"
        super().__init__(
            AsyncHyperBandScheduler, mode=mode, grace_period=min, max_t=max, reduction_factor=eta, brackets=brackets
        )
        self.max, self.eta, self.sign, self.ladders = max, eta, 1 if mode == "max" else -1, ladders
        self.cutoff, self.peers = None, 0
        for bracket in self.scheduler._brackets:
            bracket.cutoff = self.remembering(bracket.cutoff)

    def remembering(self, cutoff):
        def remembered(recorded):
            self.cutoff, self.peers = cutoff(recorded), len(recorded)
            return self.cutoff

        return remembered

    def trial(self, number):
        new = number not in self.trials
        trial = super().trial(number)
        if new and self.ladders:
            self.scheduler._trial_info[trial.trial_id] = self.scheduler._brackets[self.ladders[number]]
        return trial

    def ladder(self, number):
        return self.scheduler._brackets.index(self.scheduler._trial_info[self.trial(number).trial_id])

    def stops(self, number, step, value):
        # At `max` Ray says stop where the trial has come to its own end.
        return super().stops(number, step, value) and step < self.max

    def is_rounded(self, value):
        """Whether the last stop was of a tie with the value that the quantile falls on, which rounding had lifted."""
        return (self.peers - 1) % self.eta == 0 and math.isclose(self.sign * value, self.cutoff, rel_tol=1e-12)


class Median(Ray):
    def __init__(self, direction, grace, min_samples):
        mode = "min" if direction == "minimize" else "max"
        super().__init__(MedianStoppingRule, mode=mode, grace_period=grace, min_samples_required=min_samples)


class Wilcoxon:
    """Optuna's pruner in a study of its own; a trial returns the mean of what it reported."""

    def __init__(self, direction, **options):
        self.study = optuna.create_study(direction=direction, pruner=optuna.pruners.WilcoxonPruner(**options))
        self.trials, self.values = {}, {}

    def stops(self, number, step, value):
        if number not in self.trials:
            self.trials[number], self.values[number] = self.study.ask(), []
        self.values[number].append(value)
        self.trials[number].report(value, step)
        stops = self.trials[number].should_prune()
        if stops:
            self.study.tell(self.trials[number], state=optuna.trial.TrialState.PRUNED)
        return stops

    def completed(self, number):
        self.study.tell(self.trials[number], sum(self.values[number]) / len(self.values[number]))


def interleaved(rng, reference, curves):
    """Eight trials at a time report what `curves` has for them, as far as the reference lets them."""
    waiting, live = list(reversed(range(len(curves)))), {}
    reports, stopped, completed, ties = [], [], [], []
    while waiting or live:
        while waiting and len(live) < WORKERS:
            number = waiting.pop()
            live[number] = list(reversed(curves[number]))
        number = rng.choice(sorted(live))
        step, value = live[number].pop()
        reports.append([number, step, value])
        if reference.stops(number, step, value):
            stopped.append(len(reports) - 1)
            if isinstance(reference, Asha) and reference.is_rounded(value):
                ties.append(len(reports) - 1)
            del live[number]
        elif not live[number]:
            completed.append(len(reports) - 1)
            if isinstance(reference, Wilcoxon):
                reference.completed(number)
            del live[number]
    return {"reports": reports, "stopped": stopped, "completed": completed, "ties": ties}


def whole(loss):
    """Ties often, and sums are exact in whatever order."""
    return round(loss)


def uneven(loss):
    """Ties often, and never with what lies a third of the way between two others, where rounding alone would decide."""
    return round(round(loss) + random.Random(round(loss)).random(), 3)


def fine(loss):
    """Hardly ever ties."""
    return round(loss, 6)


def values(rng, direction, steps, kind, wild=0.0):
    """A learning curve at `steps`, in numbers of that kind; `wild` is the share of infinities."""
    sign, level, falls = 1 if direction == "minimize" else -1, rng.uniform(0, 60), rng.uniform(0, 60)
    curve = []
    for step in steps:
        loss = kind(level + falls / step + rng.uniform(-8, 8))
        curve.append((step, sign * (math.inf if rng.random() < wild else loss)))
    return curve


def climbs(rng, rungs, last):
    """Steps up to `last` that jump over no rung; some trials end before."""
    end = rng.randrange(1, last) if rng.random() < 0.15 else last
    return [step for step in range(1, end + 1) if step in rungs or step == end or rng.random() < 0.4]


def asha(seed, direction, params, trials, kind, ladders=None, wild=0.0):
    np.random.seed(seed)
    rng = random.Random(seed)
    rungs = {params["min"] * params["eta"] ** k for k in range(20)}
    curves = [values(rng, direction, climbs(rng, rungs, params["max"]), kind, wild) for _ in range(trials)]
    reference = Asha(direction, ladders=ladders, **params)
    trace = interleaved(rng, reference, curves)
    if params.get("brackets", 1) > 1:
        trace["ladders"] = "".join(str(reference.ladder(number)) for number in range(trials))
    return {"algorithm": "asha", "direction": direction, "params": params, **trace}


def hyperband(seed, direction, params, trials, kind):
    """Ray's rule; how many trials climb which ladder is Optuna's."""
    budgets = shares(params["min"], params["max"], params["eta"])
    ladders = random.Random(seed).choices(range(len(budgets)), weights=budgets, k=trials)
    trace = asha(seed, direction, params | {"brackets": len(budgets)}, trials, kind, ladders)
    return trace | {"algorithm": "hyperband", "params": params}


def median(seed, direction, params, trials):
    rng = random.Random(seed)
    ends = [rng.randrange(1, 20) if rng.random() < 0.2 else 20 for _ in range(trials)]
    curves = [values(rng, direction, range(1, end + 1), whole) for end in ends]
    trace = interleaved(rng, Median(direction, **params), curves)
    return {"algorithm": "median", "direction": direction, "params": params, **trace}


def wilcoxon(seed, direction, params, trials, folds, kind):
    """Folds differ from each other by more than trials do, and a trial may leave some out."""
    rng = random.Random(seed)
    hard = [rng.randrange(0, 200) for _ in range(folds)]
    curves = []
    for _ in range(trials):
        steps = [step for step in range(1, folds + 1) if rng.random() < 0.95] or [1]
        curve = values(rng, direction, [1] * len(steps), kind)
        sign = 1 if direction == "minimize" else -1
        curves.append([(step, round(value + sign * hard[step - 1], 6)) for step, (_, value) in zip(steps, curve)])
    trace = interleaved(rng, Wilcoxon(direction, **params), curves)
    return {"algorithm": "wilcoxon", "direction": direction, "params": params, **trace}


def shares(min, max, eta):
    pruner = optuna.pruners.HyperbandPruner(min_resource=min, max_resource=max, reduction_factor=eta)
    pruner._try_initialization(None)
    return pruner._trial_allocation_budgets


def difference(name, algorithm, params, reports, reference, ended=()):
    """A trace made by hand, for what our stoppers do otherwise on purpose. `ended` are the reports after which a trial
    ends and the reference is told."""
    stopped = []
    for index, report in enumerate(reports):
        if reference.stops(*report):
            stopped.append(index)
        if index in ended:
            reference.ended(*report)
    trace = {"reports": reports, "stopped": stopped, "completed": list(ended)}
    return {"name": name, "algorithm": algorithm, "direction": "minimize", "params": params, **trace}


def differences():
    nan = math.nan
    ladder = {"min": 1, "max": 27, "eta": 3}
    made = []
    # One without a number between others.
    reports = [[0, 1, 5], [1, 1, nan], [2, 1, 6]]
    made.append(difference("asha: no number", "asha", ladder, reports, Asha("minimize", **ladder)))
    # The first trial starts at rung 9; what it reports later lies between rungs.
    reports = [[0, 9, 1], [0, 10, 5], [0, 11, 7], [1, 1, 8], [2, 3, 6]]
    made.append(difference("asha: a jump", "asha", ladder, reports, Asha("minimize", **ladder)))
    rule = {"grace": 1, "min_samples": 2}
    # One trial has a step without a number, and one with the best loss of all.
    reports = [[0, 1, nan], [0, 2, 1], [1, 1, 2], [1, 2, 2], [2, 1, 2], [2, 2, 2]]
    made.append(difference("median: no number", "median", rule, reports, Median("minimize", **rule)))
    # Trials 0 and 1 reached step 2 without a report there.
    reports = [[0, 1, 2], [0, 3, 2], [1, 1, 2], [1, 3, 2], [2, 2, 3]]
    made.append(difference("median: a step left out", "median", rule, reports, Median("minimize", **rule)))
    # The averages of trials 0 and 1 at step 2 are 5 each; with their last reports twice, 4.
    reports = [[0, 1, 8], [0, 2, 2], [1, 1, 8], [1, 2, 2], [2, 2, 4.5]]
    made.append(difference("median: an end", "median", rule, reports, Median("minimize", **rule), ended=(1, 3)))
    folds = {"p_threshold": 0.1, "n_startup_steps": 2}
    reference = Wilcoxon("minimize", **folds)
    reports = [[0, step, 1] for step in range(1, 5)] + [[1, step, nan if step == 2 else 2] for step in range(1, 5)]
    for report in reports[:4]:
        reference.stops(*report)
    reference.completed(0)
    trace = difference("wilcoxon: no number", "wilcoxon", folds, reports[4:], reference)
    stopped = [4 + index for index in trace["stopped"]]
    made.append(trace | {"reports": reports, "stopped": stopped, "completed": [3]})
    return made


def p_values(seed):
    """Of every size: without ties, all positive, with ties, with zeros, and with one zero alone."""
    rng = random.Random(seed)
    made = []
    for n in [1, 2, 3, 4, 5, 8, 12, 13, 14, 20, 30, 49, 50, 51, 80]:
        for differences in [
            [round(rng.gauss(0.2, 1), 6) for _ in range(n)],
            [round(rng.uniform(4, 6), 6) for _ in range(n)],
            [rng.randrange(-6, 7) + 1 for _ in range(n)],
            [rng.randrange(-3, 4) for _ in range(n)],
            [0, *(round(rng.gauss(0.2, 1), 6) for _ in range(n - 1))],
        ]:
            if differences == [0]:
                continue  # Scipy wants two.
            p = scipy.stats.wilcoxon(differences, alternative="greater", zero_method="zsplit").pvalue
            made.append([differences, float(p)])
    return made


def write(name, made_by, items):
    """On lines that end between two items, so that a change shows where it is."""
    text = json.dumps({"made_by": made_by, "items": items}, separators=(",", ":"))
    # Numbers that JSON has no word for.
    for number in ["-Infinity", "Infinity", "NaN"]:
        text = text.replace(number, f'"{number.lower()}"')
    lines, line = [], ""
    for piece in text.replace("],", "],\n").replace(",\"", ",\n\"").split("\n"):
        if len(line) + len(piece) > 118:
            lines.append(line)
            line = ""
        line += piece
    (HERE / f"{name}.json").write_text("\n".join([*lines, line]) + "\n")


def main():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    three, four = {"min": 1, "max": 27, "eta": 3}, {"min": 2, "max": 100, "eta": 4}
    write("asha", f"make.py: AsyncHyperBandScheduler of {RAY}", [
        asha(1, "minimize", three, 250, uneven),
        asha(2, "maximize", three, 150, fine),
        asha(3, "maximize", four, 150, uneven, wild=0.05),
        asha(4, "minimize", three | {"brackets": 3}, 250, uneven),
        asha(5, "minimize", four | {"brackets": 2}, 100, uneven),
    ])
    write("hyperband", f"make.py: AsyncHyperBandScheduler of {RAY}; shares of HyperbandPruner of {OPTUNA}", [
        hyperband(6, "minimize", three, 300, uneven),
        hyperband(7, "maximize", four, 150, fine),
    ])
    write("median", f"make.py: MedianStoppingRule of {RAY}", [
        median(8, "minimize", {"grace": 1, "min_samples": 3}, 150),
        median(9, "maximize", {"grace": 1, "min_samples": 10}, 150),
        median(10, "minimize", {"grace": 4, "min_samples": 3}, 150),
    ])
    folds = {"p_threshold": 0.1, "n_startup_steps": 2}
    write("wilcoxon", f"make.py: WilcoxonPruner of {OPTUNA}", [
        wilcoxon(11, "minimize", folds, 150, 10, whole),
        wilcoxon(12, "maximize", folds, 100, 12, fine),
        wilcoxon(13, "maximize", {"p_threshold": 0.02, "n_startup_steps": 8}, 60, 40, whole),
        wilcoxon(14, "minimize", {"p_threshold": 0.001, "n_startup_steps": 2}, 30, 70, whole),
    ])
    write("differences", f"make.py: the schedulers and pruners of {RAY}, {OPTUNA}", differences())
    write("p_values", f"make.py: scipy.stats.wilcoxon of {OPTUNA}", p_values(15))
    ladders = [(1, 81, 3), (1, 27, 3), (2, 100, 4), (1, 100, 2), (5, 100, 3), (1, 2, 3), (1, 243, 3)]
    write("shares", f"make.py: HyperbandPruner of {OPTUNA}", [[*ladder, shares(*ladder)] for ladder in ladders])


main()
