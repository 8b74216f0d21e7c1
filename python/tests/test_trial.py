"""What a trial knows about itself, in Heats and outside, and how it ends."""

from __future__ import annotations

import copy
import faulthandler
import os
import pickle
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from conftest import World
from fake_agent import running

import heats


def test_the_environment_says_which_trial_this_is(world: World) -> None:
    with heats.trial() as t:
        assert (t.sweep, t.number, t.attempt, t.local) == ("digits", 12, 2, False)
        assert t.seed == 7, "2**40 + 7, folded into 32 bits"
        assert t.resume is None
        assert t.output_dir == world.folder / "output"
        assert t.output_dir.is_dir()


@pytest.mark.parametrize(
    ("address", "number", "attempt"),
    [("0", 0, 1), ("12", 12, 1), ("digits/3", 3, 1), ("swp_1h7/3@4", 3, 4)],
)
def test_a_trials_address_may_be_long(
    address: str, number: int, attempt: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEATS_TRIAL", address)
    monkeypatch.delenv("HEATS_ATTEMPT")
    with heats.trial() as t:
        assert (t.number, t.attempt) == (number, attempt)


def test_the_sweeps_parameters_come_before_the_defaults(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr=5", "--momentum=5"])
    with heats.trial(defaults={"lr": 0.1, "momentum": 0.9}) as t:
        assert dict(t.params) == {"lr": 1e-5, "momentum": 0.9, "width": 64, "opt": "sgd", "deep": True}
        assert (t.params.lr, t.params["width"], "momentum" in t.params) == (1e-5, 64, True)


def test_without_a_file_the_agent_is_asked_for_the_parameters(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATS_PARAMS_FILE")
    world.record.params = {"lr": 0.5}
    with running(world.socket, world.record), heats.trial() as t:
        assert dict(t.params) == {"lr": 0.5}


def test_outside_heats_the_defaults_are_the_parameters_and_argv_overrides_one(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["--lr=0.5", "--width=128", "--opt=1", "--deep=false", "--batch-size=8", "--new=2.5", "--text=a=b"]
    monkeypatch.setattr(sys, "argv", ["train.py", "--verbose", "data", "--out", "x", *argv])
    defaults = {"lr": 0.1, "width": 64, "opt": "sgd", "deep": True, "batch_size": 4, "left": None}
    with heats.trial(defaults=defaults) as t:
        expected = {"lr": 0.5, "width": 128, "opt": "1", "deep": False, "batch_size": 8, "left": None}
        assert dict(t.params) == {**expected, "new": 2.5, "text": "a=b"}
        assert [type(value) for value in t.params.values()] == [float, int, str, bool, int, type(None), float, str]


@pytest.mark.parametrize("argument", ["--width=2.5", "--width=wide", "--deep=maybe"])
def test_an_argument_that_has_not_its_defaults_type_is_an_error(argument: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", argument])
    with pytest.raises(ValueError, match=argument):
        heats.trial(defaults={"width": 64, "deep": True})


def test_outside_heats_nothing_is_reported_and_nothing_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with heats.trial(defaults={"lr": 0.1}) as t:
        assert (t.local, t.sweep, t.number, t.attempt, t.seed, t.resume) == (True, None, 0, 1, 0, None)
        assert not t.report(1, loss=0.5).should_stop
        assert not t.poll_stop(wait_s=10)
        with pytest.raises(TypeError):
            t.report(2, loss="low")
        assert capsys.readouterr() == ("", "")
        assert list(tmp_path.iterdir()) == [], "nothing is written before something is asked for"
        monkeypatch.setenv("HEATS_VERBOSE", "1")
        t.report(2, loss=0.25)
        assert capsys.readouterr() == ("", "heats: step 2: loss=0.25\n")
        (t.output_dir / "model").write_text("weights")
    assert len(list(tmp_path.glob("heats-local/*/output/model"))) == 1


def test_a_parameter_that_nobody_gave_is_named_with_a_hint() -> None:
    with heats.trial(defaults={"lr": 0.1}) as t:
        with pytest.raises(AttributeError, match=r"no parameter `momentum` \(there are: lr\): give it in .*defaults"):
            _ = t.params.momentum
        with pytest.raises(KeyError):
            _ = t.params["momentum"]


def test_parameters_are_read_only_and_can_be_copied() -> None:
    with heats.trial(defaults={"lr": 0.1}) as t:
        with pytest.raises(AttributeError, match="read-only"):
            t.params.lr = 1.0
        assert pickle.loads(pickle.dumps(t.params)) == t.params
        assert copy.deepcopy(t.params) == {"lr": 0.1}
        assert repr(t.params) == "Params(lr=0.1)"
        assert "lr" in dir(t.params)


def test_an_infeasible_configuration_ends_the_process_with_its_reason(
    agent: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(heats.Infeasible) as ended, heats.trial() as t:
        t.infeasible("the batch is larger than the data")
    assert ended.value.code == 65
    assert isinstance(ended.value, SystemExit)
    assert agent.record.bodies("/v1/infeasible") == [{"why": "the batch is larger than the data"}]
    assert "larger than the data" in capsys.readouterr().err


@pytest.mark.usefixtures("impatient")
def test_an_infeasible_configuration_needs_no_agent(world: World) -> None:
    with pytest.raises(heats.Infeasible), heats.trial() as t, pytest.warns(heats.AgentWarning, match="away"):
        t.infeasible("no")


def test_sigterm_is_a_flag_for_those_who_ask() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with heats.trial():
        assert signal.getsignal(signal.SIGTERM) == before
    with heats.trial(on_stop="flag") as t:
        assert not t.should_stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert t.should_stop
        assert t.report(1, loss=0.5).should_stop
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.usefixtures("world", "impatient")
def test_a_signal_that_comes_while_an_answer_says_stop_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_every_line(frame: FrameType, event: str, _arg: Any) -> Any:
        if event == "line" and Path(frame.f_code.co_filename).name in ("_trial.py", "threading.py"):
            os.kill(os.getpid(), signal.SIGTERM)
        return at_every_line

    # Python code cannot end a thread that waits for itself.
    faulthandler.dump_traceback_later(60, exit=True)
    with heats.trial(on_stop="flag") as t:
        monkeypatch.setattr(t._reports, "send", lambda *_: True)
        sys.settrace(at_every_line)
        verdict = t.report(1, loss=0.5)
        sys.settrace(None)
        assert verdict.should_stop
    faulthandler.cancel_dump_traceback_later()


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="on_stop"):
        heats.trial(on_stop="exit")
    with pytest.raises(ValueError, match="keep_checkpoints"):
        heats.trial(keep_checkpoints=0)


def test_an_environment_that_is_garbled_names_the_variable(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEATS_SEED", "seven")
    with pytest.raises(ValueError, match="HEATS_SEED is 'seven'"):
        heats.trial()
