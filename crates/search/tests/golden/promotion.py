"""Makes `promotion.json` and `population.json`: whom the implementations that our pausing rules and our population follow
promoted, replaced and copied. They are other people's code, driven here one report at a time; Heats has no part in it.

    pip install 'ray[tune]==2.60.0' numpy==2.4.6 syne-tune==0.14.2 dill sortedcontainers && python promotion.py

What it makes is the same each time. The format is explained in ../promotion.rs, which reads it.

Syne Tune promotes a trial whose value is at most the linear quantile, which lets ceil(n / eta) of n go on. Ours are floor(n / eta),
as in the paper: so its cutoff is taken at that place here, and everything else is its own."""

import json
import pathlib
import random
import types

import ray
import syne_tune
from ray.tune.schedulers import pbt
from syne_tune.optimizer.schedulers import legacy_hyperband_stopping as rungs
from syne_tune.optimizer.schedulers.legacy_hyperband_pasha import PASHARungSystem
from syne_tune.optimizer.schedulers.legacy_hyperband_promotion import PromotionRungSystem
from syne_tune.optimizer.schedulers.synchronous.hyperband_bracket import SynchronousBracket
from syne_tune.optimizer.schedulers.synchronous.hyperband_bracket_manager import SynchronousHyperbandBracketManager

HERE = pathlib.Path(__file__).parent
WORKERS = 8
SYNE, RAY = f"syne-tune {syne_tune.__version__}", f"ray {ray.__version__}"


def ladder(min, max, eta):
    steps = []
    while min < max:
        steps.append(min)
        min *= eta
    return steps


def curve(rng, crosses):
    """Losses that fall; two of them cross once at most, so that nothing of it is noise."""
    level, falls = rng.uniform(0, 60), rng.uniform(0, 60) if crosses else 0
    return lambda step: round(level + falls / step, 6)


# Promotion


def cutoff_of(eta):
    def quantile(rung):
        open = len(rung.data) // eta
        return rung.data[open - 1].metric_val if open else None

    return quantile


def promoting(kind, algorithm, seed, direction, params, trials, crosses):
    """Every trial reports every step. Whoever may go on does so at once."""
    rng = random.Random(seed)
    min, max, eta = params["min"], params["max"], params["eta"]
    rungs.Rung.quantile = cutoff_of(eta)
    sign, steps = 1 if direction == "minimize" else -1, ladder(min, max, eta)
    mode = "min" if direction == "minimize" else "max"
    system = kind(steps, [1 / eta] * len(steps), "value", mode, "step", max)
    curves, at, live, new = {}, {}, [], 0
    reports, came, promoted = [], [], []
    while new < trials or live:
        while new < trials and len(live) < WORKERS:
            curves[new], at[new] = curve(rng, crosses), 0
            system.on_task_add(str(new), skip_rungs=0, new_config=True)
            live.append(new)
            new += 1
        trial = live[rng.randrange(len(live))]
        at[trial] += 1
        value = sign * curves[trial](at[trial])
        reports.append([trial, at[trial], value])
        told = system.on_task_report(str(trial), {"value": value, "step": at[trial]}, skip_rungs=0)
        if told["task_continues"]:
            continue
        live.remove(trial)
        if at[trial] == max:
            continue
        came.append(len(reports) - 1)
        goes_on = []
        while job := system.on_task_schedule("none"):
            trial = job.pop("trial_id")
            system.on_task_add(trial, skip_rungs=0, new_config=False, **job)
            goes_on.append(int(trial))
        live.extend(goes_on)
        if goes_on:
            promoted.append([len(reports) - 1, sorted(goes_on)])
    return trace(algorithm, direction, params, reports, came, promoted)


def synchronous(seed, direction, params, trials):
    """Brackets of Syne Tune's manager, with the sizes that Hyperband's paper gives them."""
    rng = random.Random(seed)
    min, max, eta = params["min"], params["max"], params["eta"]
    sign, steps = 1 if direction == "minimize" else -1, ladder(min, max, eta)
    # One bracket has no rung: its trials are whole.
    brackets, count = [], len(steps) + 1
    for kind in range(count):
        s = count - 1 - kind
        size = -(-count * eta**s // (s + 1))
        system = []
        for step in [*steps[kind:], max]:
            system.append((size, step))
            size = size // eta or 1
        brackets.append(system)
    # A rung may be as large as the one below it, one trial each: the paper's sizes at the top.
    SynchronousBracket.assert_check_rungs = staticmethod(lambda system: None)
    manager = SynchronousHyperbandBracketManager(brackets, "min" if direction == "minimize" else "max")
    curves, at, live, new = {}, {}, {}, 0
    reports, came, promoted, holds = [], [], [], set()

    def fill():
        nonlocal new
        goes_on = []
        while len(live) < WORKERS and new < trials:
            bracket, slot = manager.next_job()
            if slot.trial_id is None:
                slot.trial_id, curves[new], at[new] = new, curve(rng, True), 0
                new += 1
            else:
                holds.remove(slot.trial_id)
                goes_on.append(slot.trial_id)
            live[slot.trial_id] = (bracket, slot)
        return goes_on

    fill()
    created = [new]
    while live:
        trial = sorted(live)[rng.randrange(len(live))]
        bracket, slot = live.pop(trial)
        value = sign * curves[trial](slot.level)
        at[trial] = slot.level
        reports.append([trial, slot.level, value])
        slot.metric_val = value
        manager.on_result((bracket, slot))
        if slot.level < max:
            came.append(len(reports) - 1)
            holds.add(trial)
        goes_on = fill()
        created.append(new)
        if goes_on:
            promoted.append([len(reports) - 1, sorted(goes_on)])
        if new == trials:
            break
    return trace("hyperband_sync", direction, params, reports, came, promoted) | {"created": created}


def trace(algorithm, direction, params, reports, came, promoted):
    return {
        "algorithm": algorithm, "direction": direction, "params": params,
        "reports": reports, "came": came, "promoted": promoted,
    }


# Populations


class Dice:
    """Ray's random numbers, remembered: whom it drew from whom."""

    def __init__(self, seed):
        self.rng, self.drawn = random.Random(seed), None

    def random(self):
        return self.rng.random()

    def choice(self, items):
        drawn = self.rng.choice(items)
        if isinstance(drawn, Member):
            self.drawn = (drawn, list(items))
        return drawn


class Member:
    """As much of Ray's trial as its scheduler looks at."""

    def __init__(self, number):
        self.trial_id, self.number, self.config, self.status = str(number), number, {"x": 0.5}, "RUNNING"
        self.experiment_tag, self.evaluated_params = "", {}
        manager = types.SimpleNamespace(checkpoint_config=types.SimpleNamespace(num_to_keep=None))
        self.run_metadata = types.SimpleNamespace(checkpoint_manager=manager)

    def is_finished(self):
        return False

    def set_experiment_tag(self, tag):
        self.experiment_tag = tag

    def set_config(self, config):
        self.config = config


class Controller:
    search_alg = None

    def get_trials(self):
        return []

    def pause_trial(self, trial, should_checkpoint):
        pass

    def _schedule_trial_save(self, trial, result):
        return "a checkpoint"


def population(seed, direction, params, reports_each):
    """Everybody has a checkpoint of its last comparison at all times. A member that was replaced goes on from the winner's."""
    rng = random.Random(seed)
    pbt.random = Dice(seed)
    mode = "min" if direction == "minimize" else "max"
    scheduler = pbt.PopulationBasedTraining(
        time_attr="step", metric="value", mode=mode, perturbation_interval=params["perturbation_interval"],
        burn_in_period=params.get("burn_in_period", 0), quantile_fraction=params["quantile_fraction"],
        hyperparam_mutations={"x": lambda: 0.5}, log_config=False,
    )
    controller, members = Controller(), [Member(number) for number in range(params["population"])]
    for member in members:
        scheduler.on_trial_add(controller, member)
    steps, reports, replaced = [0] * len(members), [], []
    for _ in range(reports_each * len(members)):
        member = members[rng.randrange(len(members))]
        steps[member.number] += rng.randrange(1, 4)
        value = round(rng.uniform(0, 100), 6)
        for other in members:
            scheduler._trial_state[other].last_checkpoint = "a checkpoint"
        pbt.random.drawn = None
        reports.append([member.number, steps[member.number], value])
        scheduler.on_trial_result(controller, member, {"step": steps[member.number], "value": value})
        if pbt.random.drawn:
            winner, best = pbt.random.drawn
            step = scheduler._trial_state[winner].last_perturbation_time
            replaced.append([len(reports) - 1, winner.number, step, sorted(one.number for one in best)])
            steps[member.number] = step
    return {"direction": direction, "params": params, "reports": reports, "replaced": replaced}


def explored(seed):
    """What Ray makes of a value by one factor or one shift, where that stays within the bounds."""
    rng, made = random.Random(seed), []
    mutations = {"x": lambda: 0.0}
    for factor in [1.2, 0.8, 1.5, 0.5]:
        for _ in range(20):
            value = round(rng.uniform(0.1, 0.6), 6)
            to, _ = pbt._explore({"x": value}, mutations, 0.0, [factor], None)
            made.append({"float": [0.0, 1.0], "from": value, "factor": factor, "to": to["x"]})
        for _ in range(20):
            # Small ones may round to themselves; and no half, which Python rounds to the even number.
            value = rng.randrange(10, 600, 2)
            to, _ = pbt._explore({"x": value}, mutations, 0.0, [factor], None)
            made.append({"int": [1, 1000], "from": value, "factor": factor, "to": to["x"]})
    values = ["a", "b", "c", "d"]
    for shift in [1, -1]:
        pbt.random.choice = lambda items, shift=shift: shift
        for value in values:
            to, _ = pbt._explore({"x": value}, {"x": values}, 0.0, [1.2], None)
            made.append({"choice": values, "from": value, "factor": 2.0 if shift > 0 else 0.5, "to": to["x"]})
    return made


def write(name, made_by, items):
    """On lines that end between two items, so that a change shows where it is."""
    text = json.dumps({"made_by": made_by, "items": items}, separators=(",", ":"))
    lines, line = [], ""
    for piece in text.replace("],", "],\n").replace(",\"", ",\n\"").split("\n"):
        if len(line) + len(piece) > 118:
            lines.append(line)
            line = ""
        line += piece
    (HERE / f"{name}.json").write_text("\n".join([*lines, line]) + "\n")


def main():
    three, four = {"min": 1, "max": 27, "eta": 3}, {"min": 2, "max": 40, "eta": 4}
    write("promotion", f"promotion.py: legacy_hyperband_promotion, legacy_hyperband_pasha and synchronous of {SYNE}", [
        promoting(PromotionRungSystem, "asha_promotion", 1, "minimize", three, 120, True),
        promoting(PromotionRungSystem, "asha_promotion", 2, "maximize", four, 80, True),
        promoting(PASHARungSystem, "pasha", 3, "minimize", three, 80, True),
        promoting(PASHARungSystem, "pasha", 4, "maximize", four, 60, True),
        promoting(PASHARungSystem, "pasha", 5, "minimize", three, 60, False),
        synchronous(6, "minimize", three, 150),
        synchronous(7, "maximize", {"min": 1, "max": 16, "eta": 2}, 120),
    ])
    plain = {"population": 8, "perturbation_interval": 5, "quantile_fraction": 0.25}
    traces = [
        population(8, "maximize", plain, 60),
        population(9, "minimize", plain | {"population": 5, "burn_in_period": 12, "quantile_fraction": 0.5}, 60),
        population(10, "maximize", plain | {"population": 20, "quantile_fraction": 0.1}, 40),
    ]
    write("population", f"promotion.py: PopulationBasedTraining of {RAY}", traces)
    write("explored", f"promotion.py: _explore of {RAY}", explored(11))


if __name__ == "__main__":
    main()
