"""Climb a hill that is seen through two weights, and keep the state, so that another trial can go on from it.

The toy of Jaderberg et al. 2017, section 4.1. Runs by hand as well: `python3 train.py --h0=1 --h1=0`.
"""

import json
import time

import heats

STEPS = 60

with heats.trial(defaults={"h0": 0.5, "h1": 0.5}) as t:
    weights = [t.params.h0, t.params.h1]
    theta, done = [0.9, 0.9], 0
    if t.resume:
        theta, done = json.loads((t.resume.path / "theta.json").read_text()), t.resume.step
    for step in range(done + 1, STEPS + 1):
        # A step follows the slope of 1.2 - sum(h * theta^2); what counts is 1.2 - sum(theta^2).
        theta = [x - 0.02 * h * x for h, x in zip(weights, theta)]
        time.sleep(0.02)  # a training that is worth a checkpoint takes longer than to keep one
        if step % 5 == 0:
            with t.checkpoint(step) as folder:
                (folder / "theta.json").write_text(json.dumps(theta))
        if t.report(step, q=1.2 - sum(x * x for x in theta)).should_stop:
            break
