"""What others reach on the benchmarks of docs/search.md: random search, asynchronous halving and Optuna's TPE, in virtual time.

Nothing of Heats is in it but what `heats-tpe` and `tpe-same-start` ask the program HEATS for, so that one simulation checks the
other. Needs numpy and optuna==5.0.0; HEATS_BENCH_DATA names the folder of the surrogates.

rivals.py check
rivals.py run OUT.jsonl --bench rbv2_xgboost --methods random,asha,tpe,tpe-hyperband --seeds 0:40
rivals.py table OUT.jsonl...
"""

import argparse
import csv
import heapq
import json
import math
import os
import subprocess
import sys
import time
import warnings
import weakref
from collections import defaultdict
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np

DATA = Path(os.environ.get("HEATS_BENCH_DATA", "."))
SWEEPS = Path(os.environ.get("HEATS_SWEEPS", "benches/quality"))
TASKS = {
    "lcbench": ["189909", "168868", "167184", "167168", "168331", "167152"],
    "rbv2_xgboost": ["1501", "12", "40499", "16"],
}
BUDGETS = {"lcbench": [1, 2, 5, 10], "rbv2_xgboost": [1, 2, 5]}
TASK_COLUMN = {"lcbench": "OpenML_task_id", "rbv2_xgboost": "task_id"}
F = np.float32
OPS = {
    "add": lambda x, c: x + c, "radd": lambda x, c: c + x, "sub": lambda x, c: x - c, "rsub": lambda x, c: c - x,
    "mul": lambda x, c: x * c, "rmul": lambda x, c: c * x, "div": lambda x, c: x / c, "rdiv": lambda x, c: c / x,
    "log": np.log, "exp": np.exp, "neg": np.negative,
}


def through(ops, x):
    for name, *constant in ops:
        x = OPS[name](x, *map(F, constant))
    return x


class Surrogate:
    def __init__(self, name):
        self.d = json.loads((DATA / f"{name}.json").read_text())
        flat = np.fromfile(DATA / f"{name}.f32", "<f4")
        self.t = {k: flat[v["offset"] :][: math.prod(v["shape"])].reshape(v["shape"]) for k, v in self.d["tensors"].items()}
        layers = [f"layers.{i}" for i in range(self.d["n_layers"])]
        self.blocks = [(self.norm(f"{l}.norm"), self.linear(f"{l}.linear0"), self.linear(f"{l}.linear1")) for l in layers]
        self.first, self.head, self.last = self.linear("first_layer"), self.linear("head"), self.norm("last_normalization")

    def linear(self, name):
        w, b = np.ascontiguousarray(self.t[f"{name}.weight"].T), self.t[f"{name}.bias"]
        return lambda x: x @ w + b

    def norm(self, name):
        w, b, mean, var = (self.t[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var"))
        scale = w / np.sqrt(var + F(self.d["bn_eps"]))
        return lambda x: (x - mean) * scale + b

    def __call__(self, config, fidelity, levels):
        """All outputs at each of the fidelity's levels."""
        parts = []
        for tensor, column in self.d["embs"]:
            name = self.d["cat"][column]
            row = self.t[tensor][self.d["encoding"][name][str(config.get(name, "#na#"))]]
            parts.append(np.tile(row, (len(levels), 1)))
        for column, ops in self.d["feats"]:
            name = self.d["cont"][column]
            x = np.asarray(levels, F) if name == fidelity else np.full(len(levels), config.get(name, 0), F)
            parts.append(through(ops, x)[:, None])
        x = self.first(np.concatenate(parts, 1).astype(F))
        for norm, wide, narrow in self.blocks:
            a, b = np.split(wide(norm(x)), 2, axis=1)
            x = x + narrow(a * np.maximum(b, 0))
        with np.errstate(over="ignore"):
            y = 1 / (1 + np.exp(-self.head(np.maximum(self.last(x), 0))))
        return {o: through(ops, y[:, column]) for o, (column, ops) in zip(self.d["outputs"], self.d["outs"])}


class Task:
    def __init__(self, bench, instance):
        self.bench, self.name = bench, f"{bench}/{instance}"
        self.space = json.loads((DATA / f"{bench}.space.json").read_text())
        self.surrogate = Surrogate(bench)
        self.fixed = self.space["fixed"] | {TASK_COLUMN[bench]: instance}
        self.unit = json.loads((DATA / "full_cost.json").read_text())[self.name]
        scale = 100 if bench == "lcbench" else 1
        self.best = json.loads((DATA / "fstar.json").read_text())[self.name] * scale
        with open(DATA / "stats.csv") as rows:
            row = next(r for r in csv.DictReader(rows) if [r["scenario"], r["instance"], r["metric"]] == [bench, instance, self.space["target"]])
        self.range = float(row["max"]) - float(row["min"])
        levels = self.space["fidelity_levels"]
        self.steps = [round(level / levels[0]) for level in levels] if bench == "rbv2_xgboost" else list(range(1, len(levels) + 1))

    def train(self, config, whole):
        """What a trial does: step after step, how long that takes and what it reports; looked up as far as it is asked for."""
        levels = list(zip(self.steps, self.space["fidelity_levels"]))
        retrains, spent = self.bench == "rbv2_xgboost", 0.0
        stretches = [levels] if whole else [[l for l in levels if low < l[0] <= 3 * low] for low in (1 / 3, 1, 3, 9, 27)]
        if retrains and whole:
            stretches = [levels[-1:]]
        for stretch in filter(None, stretches):
            y = self.surrogate(config | self.fixed, self.space["fidelity"], [level for _, level in stretch])
            for (step, _), cost, value in zip(stretch, y[self.space["runtime"]], y[self.space["target"]]):
                cost = max(float(cost), spent)
                yield step, cost if retrains else cost - spent, float(value)
                spent = cost

    def regret(self, value):
        return max(0.0, (self.best - value) / self.range)


def is_active(param, config):
    return param["parent"] is None or config[param["parent"][0]] in param["parent"][1]


class Random:
    """Uniform, or log-uniform, in each parameter."""

    def __init__(self, task, seed):
        self.params, self.rng = task.space["params"], np.random.default_rng(seed)

    def ask(self):
        config = {}
        for p in filter(lambda p: is_active(p, config), self.params):
            if p["kind"] == "cat":
                config[p["name"]] = p["choices"][self.rng.integers(len(p["choices"]))]
                continue
            half = 0.5 if p["kind"] == "int" else 0.0
            low, high = p["lo"] - half, p["hi"] + half
            x = math.exp(self.rng.uniform(math.log(low), math.log(high))) if p["log"] else self.rng.uniform(low, high)
            config[p["name"]] = min(max(round(x), p["lo"]), p["hi"]) if half else x
        return None, config

    def tell(self, trial, reports):
        pass


class Optuna:
    """Optuna's TPE, trials that run included."""

    def __init__(self, task, seed, **options):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore")
        self.params = task.space["params"]
        sampler = optuna.samplers.TPESampler(seed=seed, **options)
        self.study = optuna.create_study(direction="maximize", sampler=sampler)

    def ask(self):
        trial, config = self.study.ask(), {}
        for p in filter(lambda p: is_active(p, config), self.params):
            name, low, high, log = p["name"], p["lo"], p["hi"], p["log"]
            if p["kind"] == "cat":
                config[name] = trial.suggest_categorical(name, p["choices"])
            elif p["kind"] == "int":
                config[name] = trial.suggest_int(name, low, high, log=log)
            else:
                config[name] = trial.suggest_float(name, low, high, log=log)
        return trial, config

    def tell(self, trial, reports):
        self.study.tell(trial, max(reports))


class Heats:
    """A searcher of Heats, which is asked and told through `heats simulate --ask-tell`; HEATS is the program."""

    def __init__(self, task, seed, algorithm="tpe", workers=4):
        file = SWEEPS / f"{task.bench}.yaml"
        sets = {"search": {"algorithm": algorithm, "seed": seed}, "early_stop": {"algorithm": "none"}, "budget": {"trials": 100_000}}
        sets = [f"--set={key}={json.dumps(value)}" for key, value in sets.items()]
        command = [os.environ["HEATS"], "simulate", file, "--ask-tell", f"--agents={workers}", *sets]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        weakref.finalize(self, self.process.kill)

    def ask(self):
        ask = json.loads(self.process.stdout.readline())["ask"]
        return ask["trial"], {name.replace("num_impute_selected_cpo", "num.impute.selected.cpo"): x for name, x in ask["params"].items()}

    def tell(self, trial, reports):
        print(json.dumps({"tell": {"trial": trial, "value": max(reports)}}), file=self.process.stdin, flush=True)


class SameStart(Optuna):
    """Optuna's TPE after the random configurations that Heats begins with: ten that end, and three beside the last."""

    def __init__(self, task, seed):
        super().__init__(task, seed)
        random = Heats(task, seed, "random", workers=13)
        for _ in range(13):
            self.study.enqueue_trial(random.ask()[1])


class OptunaHyperband(Optuna):
    """Optuna's TPE with its HyperbandPruner, which is told every step."""

    def __init__(self, task, seed):
        import optuna

        super().__init__(task, seed)
        self.study.pruner = optuna.pruners.HyperbandPruner(1, task.steps[-1], reduction_factor=3)

    def stops(self, trial, step, value):
        trial.report(value, step)
        return trial.should_prune()

    def tell(self, trial, reports):
        import optuna

        if trial.should_prune():
            self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            super().tell(trial, reports)


class Asha(Random):
    """The same, stopped by the rule of Ray's AsyncHyperBandScheduler with one bracket."""

    def __init__(self, task, seed, eta=3):
        super().__init__(task, seed)
        self.eta, self.rungs = eta, {}
        step = 1
        while step < task.steps[-1]:
            self.rungs[step] = []
            step *= eta

    def stops(self, _, step, value):
        if step not in self.rungs:
            return False
        rung = self.rungs[step]
        cutoff = np.percentile(rung, (1 - 1 / self.eta) * 100) if rung else -math.inf
        rung.append(value)
        return value < cutoff


METHODS = {
    "random": Random,
    "asha": Asha,
    "tpe": Optuna,
    # Its groups of conditional parameters are each modelled as one, as Heats does.
    "tpe-group": partial(Optuna, group=True),
    "tpe-hyperband": OptunaHyperband,
    "tpe-same-start": SameStart,
    "heats-tpe": Heats,
}


def simulate(task, method, seed, workers=4):
    searcher = METHODS[method](task, seed)
    stops = getattr(searcher, "stops", None)
    limits = [b * task.unit for b in BUDGETS[task.bench]]
    agenda, order, trials = [], 0, 0
    improvements = [(0.0, 1.0)]

    def advance(now, trial, training, reports):
        nonlocal order
        step, took, value = next(training, (None, 0.0, None))
        if step is None:
            return False
        order += 1
        heapq.heappush(agenda, (now + took, order, trial, training, reports, step, value))
        return True

    def begin(now):
        nonlocal trials
        trial, config = searcher.ask()
        trials += 1
        advance(now, trial, task.train(config, whole=stops is None), [])

    for _ in range(workers):
        begin(0.0)
    while agenda[0][0] <= limits[-1]:
        now, _, trial, training, reports, step, value = heapq.heappop(agenda)
        reports.append(value)
        if (regret := task.regret(value)) < improvements[-1][1]:
            improvements.append((now, regret))
        if (stops and stops(trial, step, value)) or not advance(now, trial, training, reports):
            searcher.tell(trial, reports)
            begin(now)
    regrets = [min(r for t, r in improvements if t <= limit) for limit in limits]
    return {"task": task.name, "method": method, "seed": seed, "trials": trials, "regrets": regrets}


def run(args):
    done = set()
    out = Path(args.out)
    if out.exists():
        done = {(r["task"], r["method"], r["seed"]) for r in map(json.loads, out.read_text().splitlines())}
    first, last = map(int, args.seeds.split(":"))
    tasks = [Task(args.bench, instance) for instance in TASKS[args.bench]]
    for number in range(first, last):
        for method in args.methods.split(","):
            for place, task in enumerate(tasks):
                # Independent over tasks, and over benchmarks; or one for all tasks, as in the table of reference.
                own = number * 100 + place + (50 if args.bench == "lcbench" else 0)
                seed = 10**6 + number if args.shared else own
                if (task.name, method, seed) in done:
                    continue
                begun = time.time()
                row = simulate(task, method, seed)
                row["seconds"] = round(time.time() - begun, 2)
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")


def estimate(by_task, draws=2000):
    """The mean over tasks, with a bootstrap of each task's seeds."""
    rng = np.random.default_rng(1)
    drawn = [np.stack([r[rng.integers(len(r), size=len(r))].mean(0) for r in by_task]).mean(0) for _ in range(draws)]
    return np.mean([r.mean(0) for r in by_task], 0), np.percentile(drawn, [2.5, 97.5], axis=0)


def table(args):
    rows = [json.loads(line) for path in args.files for line in Path(path).read_text().splitlines()]
    of = defaultdict(lambda: defaultdict(list))
    for row in rows:
        of[row["task"].split("/")[0], row["method"]][row["task"]].append(row["regrets"])
    for bench in TASKS:
        print(f"\n| {bench} | seeds |", " | ".join(f"{b}x" for b in BUDGETS[bench]), "|")
        print("|---" * (2 + len(BUDGETS[bench])) + "|")
        for (name, method), by_task in of.items():
            if name == bench:
                mean, (low, high) = estimate([np.array(r) * 1e3 for r in by_task.values()])
                cells = " | ".join(f"{m:.0f} [{l:.0f}, {h:.0f}]" for m, l, h in zip(mean, low, high))
                print(f"| {method} | {min(map(len, by_task.values()))} x {len(by_task)} | {cells} |")


def check(_):
    worst = 0.0
    surrogates = {name: Surrogate(name) for name in TASKS}
    for case in json.loads((DATA / "golden.json").read_text()):
        bench = case["scenario"]
        space = json.loads((DATA / f"{bench}.space.json").read_text())
        config = case["config"] | space["fixed"] | {TASK_COLUMN[bench]: case["instance"]}
        answer = surrogates[bench](config, space["fidelity"], [case["fidelity"]])
        worst = max([worst] + [abs(answer[space[k]][0] / case["expect"][space[k]] - 1) for k in ("target", "runtime")])
    print(f"golden.json: largest relative difference of value and cost {worst:.2g}")
    for bench, instances in TASKS.items():
        for task in (Task(bench, instance) for instance in instances):
            random = Random(task, 1)
            costs = [sum(took for _, took, _ in task.train(random.ask()[1], whole=True)) for _ in range(1000)]
            error = np.std(costs) / len(costs) ** 0.5
            print(f"{task.name}: mean full cost {np.mean(costs):.0f} +- {error:.0f} s, by the file {task.unit:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    commands.add_parser("check").set_defaults(act=check)
    command = commands.add_parser("run")
    command.add_argument("out")
    command.add_argument("--bench", choices=TASKS, required=True)
    command.add_argument("--methods", default="random,tpe")
    command.add_argument("--seeds", default="0:40")
    command.add_argument("--shared", action="store_true", help="one seed for all tasks")
    command.set_defaults(act=run)
    command = commands.add_parser("table")
    command.add_argument("files", nargs="+")
    command.set_defaults(act=table)
    args = parser.parse_args()
    args.act(args)


if __name__ == "__main__":
    sys.exit(main())
