#!/usr/bin/env python3
"""The BBOB functions f1, f8, f15, f21 and f24, minimized by Heats: which share of 51 targets it reaches.

Each run is `heats simulate SWEEP --ask-tell`: Heats proposes, this program evaluates and tells (docs/search.md). A
target is a distance from the optimum, from 100 down to 1e-8 in equal steps of the logarithm; it is reached where the
best of the first so many evaluations is as near. The interval is a bootstrap over instances, all functions and seeds of
one together.

The functions are those of the package coco-experiment, which goes into target/bench-venv where it is not there.

    cargo build --release -p heats
    python3 benches/quality/bbob.py random tpe
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "target" / "bench-venv"
PACKAGE = "coco-experiment==2.8.2"

FUNCTIONS = [1, 8, 15, 21, 24]
TARGETS = [10 ** (2 - k / 5) for k in range(51)]
RESAMPLES = 10_000


def main():
    args = arguments()
    budgets = sorted(set(args.evaluations))
    functions, instances = (" ".join(map(str, numbers)) for numbers in (FUNCTIONS, args.instances))
    print(f"share of {len(TARGETS)} targets; BBOB functions {functions} in {args.dimension} dimensions,")
    print(f"instances {instances}, {args.seeds} seed(s) each")
    print(f"| algorithm | {' | '.join(f'{budget} evaluations' for budget in budgets)} |")
    print("|---" * (len(budgets) + 1) + "|")
    for algorithm in args.algorithms:
        shares = {budget: [] for budget in budgets}
        for instance in args.instances:
            runs = [
                run(args, algorithm, function, instance, seed, budgets[-1])
                for function in FUNCTIONS
                for seed in range(args.seeds)
            ]
            for budget in budgets:
                shares[budget].append(mean([share(distances[:budget]) for distances in runs]))
        print(f"| {algorithm} | {' | '.join(interval(shares[budget]) for budget in budgets)} |", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("algorithms", nargs="+", help="random, tpe, ...")
    parser.add_argument("--dimension", type=int, default=5)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[50, 100, 200], help="the budgets")
    parser.add_argument("--instances", type=int, nargs="+", default=list(range(1, 16)))
    parser.add_argument("--seeds", type=int, default=1, help="how many runs there are on each function and instance")
    parser.add_argument("--heats", type=pathlib.Path, default=ROOT / "target" / "release" / "heats")
    return parser.parse_args()


def run(args, algorithm, function, instance, seed, evaluations):
    """The distance from the optimum of every evaluation, in order."""
    import cocoex

    problem = cocoex.BareProblem("bbob", function, args.dimension, instance)
    optimum = problem.best_value()
    names = [f"x{place}" for place in range(args.dimension)]
    sweep = {
        "command": ["true"],
        "space": {name: {"float": [-5.0, 5.0]} for name in names},
        "objective": {"minimize": "f"},
        # Runs share no draws, and every algorithm has the same.
        "search": {"algorithm": algorithm, "seed": (seed * 100 + function) * 1000 + instance},
        "budget": {"trials": evaluations},
    }
    distances = []
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(sweep, file)
        file.flush()
        command = [args.heats, "simulate", file.name, "--ask-tell"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as heats:
            for line in heats.stdout:
                said = json.loads(line)
                if "done" in said:
                    break
                trial, params = said["ask"]["trial"], said["ask"]["params"]
                value = problem([params[name] for name in names])
                distances.append(value - optimum)
                print(json.dumps({"tell": {"trial": trial, "value": value}}), file=heats.stdin)
    if heats.returncode != 0 or len(distances) != evaluations:
        sys.exit(f"heats ended with {heats.returncode} after {len(distances)} of {evaluations} evaluations")
    return distances


def share(distances):
    """The share of the targets that the best of these reaches."""
    best = min(distances)
    return sum(best <= target for target in TARGETS) / len(TARGETS)


def interval(values):
    """The mean, and where 95 % of the means of resamples lie."""
    draws = random.Random(0)
    means = sorted(mean(draws.choices(values, k=len(values))) for _ in range(RESAMPLES))
    low, high = means[int(0.025 * RESAMPLES)], means[int(0.975 * RESAMPLES)]
    return f"{mean(values):.3f} [{low:.3f}, {high:.3f}]"


def mean(values):
    return sum(values) / len(values)


def install():
    """Goes on in a Python that has the package."""
    try:
        import cocoex  # noqa: F401
    except ImportError:
        python = VENV / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        if subprocess.run([python, "-c", "import cocoex"], stderr=subprocess.DEVNULL).returncode != 0:
            print(f"installing {PACKAGE}", file=sys.stderr)
            subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGE], check=True)
        os.execv(python, [python, *sys.argv])


if __name__ == "__main__":
    install()
    main()
