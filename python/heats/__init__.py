"""Talk to Heats from inside a trial, in an existing training loop plus a few lines.

::

    import heats

    with heats.trial(defaults={"lr": 1e-3, "epochs": 27}) as t:
        model, start = build(t.params.lr), 0
        if t.resume:
            model.load(t.resume.path / "m.pt")
            start = t.resume.step + 1
        for epoch in range(start, t.params.epochs):
            loss = train_epoch(model)
            with t.checkpoint(epoch) as d:
                model.save(d / "m.pt")
            if t.report(epoch, val_loss=loss).should_stop:
                break

Outside Heats the same script runs alone: parameters are the defaults, ``--lr=0.1`` on the command line
overrides one, and nothing is reported. The package needs the standard library only, and it does not start
or control sweeps: that is the command ``heats``.
"""

from heats._agent import AgentWarning, RefusedError
from heats._checkpoint import Resume
from heats._params import Params
from heats._trial import Infeasible, Trial, Verdict, trial

__all__ = [
    "AgentWarning",
    "Infeasible",
    "Params",
    "RefusedError",
    "Resume",
    "Trial",
    "Verdict",
    "trial",
]
