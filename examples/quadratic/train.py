"""Minimise a narrow quadratic valley by gradient descent, and say how it goes.

Nothing here knows Heats: a line that starts with `::metric` is a report, anything else is a log line.
"""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.01)
parser.add_argument("--momentum", type=float, default=0.9)
parser.add_argument("--steps", type=int, default=27)
args = parser.parse_args()

# The valley: 50 times as steep along the second axis as along the first.
steepness = [1.0, 50.0]
point = [4.0, -2.0]
velocity = [0.0, 0.0]

for step in range(1, args.steps + 1):
    for axis, a in enumerate(steepness):
        velocity[axis] = args.momentum * velocity[axis] - args.lr * a * point[axis]
        point[axis] += velocity[axis]
    loss = sum(0.5 * a * x * x for a, x in zip(steepness, point))
    print(f"::metric step={step} loss={loss}", flush=True)
