"""Reports: what may be in one, what the agent gets, and what happens while it is away."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import World
from fake_agent import Agent, running

import heats


class Tensor:
    """A tensor of one element, as far as a report can tell."""

    def __float__(self) -> float:
        return 0.25


class Several:
    """A tensor of several elements."""

    def __float__(self) -> float:
        raise RuntimeError("only one element tensors can be converted to Python scalars")


def test_the_agent_gets_step_and_metrics_and_its_answer_is_the_verdict(agent: World) -> None:
    agent.record.stop_from_step = 2
    with heats.trial() as t:
        first = t.report(1, loss=0.5, acc=1)
        second = t.report(2, {"val/loss": Tensor()}, acc=2)
    assert (first.should_stop, bool(first)) == (False, False)
    assert (second.should_stop, bool(second), t.should_stop) == (True, True, True)
    assert agent.record.bodies("/v1/report") == [
        {"step": 1, "metrics": {"loss": 0.5, "acc": 1.0}, "wait": False},
        {"step": 2, "metrics": {"val/loss": 0.25, "acc": 2.0}, "wait": False},
    ]
    assert agent.lines() == [], "the file is for when the agent is away"


def test_a_trial_may_wait_for_each_verdict(agent: World) -> None:
    with heats.trial(wait=True) as t:
        t.report(1, loss=0.5)
    assert agent.record.bodies("/v1/report")[0]["wait"] is True


def test_nan_and_infinities_travel_as_strings(agent: World) -> None:
    with heats.trial() as t:
        t.report(1, a=math.nan, b=math.inf, c=-math.inf, d=-0.0)
    metrics = agent.record.bodies("/v1/report")[0]["metrics"]
    assert metrics == {"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.0}


def test_numpy_scalars_are_numbers_and_numpy_bools_are_not(agent: World) -> None:
    numpy = pytest.importorskip("numpy")
    with heats.trial() as t:
        t.report(numpy.int64(3), a=numpy.float32(0.5), b=numpy.array(2))
        with pytest.raises(TypeError, match="`flag` must be a number, not bool"):
            t.report(4, flag=numpy.bool_(True))
        with pytest.raises(TypeError, match="`row` must be one number, not ndarray"):
            t.report(4, row=numpy.array([1.0, 2.0]))
    assert agent.record.bodies("/v1/report") == [{"step": 3, "metrics": {"a": 0.5, "b": 2.0}, "wait": False}]


@pytest.mark.parametrize(
    ("step", "metrics", "error", "message"),
    [
        (1, {}, TypeError, "at least one metric"),
        (1, {"loss": True}, TypeError, "`loss` must be a number, not bool"),
        (1, {"loss": "0.1"}, TypeError, "`loss` must be a number, not str"),
        (1, {"loss": None}, TypeError, "`loss` must be one number, not NoneType"),
        (1, {"loss": Several()}, TypeError, "`loss` must be one number, not Several"),
        (1, {"loss": 10**400}, ValueError, "`loss` is too large"),
        (1, {"": 1.0}, ValueError, "must not be empty"),
        (1, {"step": 1.0}, ValueError, "`step` is the report's step"),
        (1, {3: 1.0}, TypeError, "a metric's name must be a string, not int"),
        (1.0, {"loss": 1.0}, TypeError, "the step must be a whole number, not float"),
        (True, {"loss": 1.0}, TypeError, "the step must be a whole number, not a bool"),
        (-1, {"loss": 1.0}, ValueError, "between 0 and"),
        (2**64, {"loss": 1.0}, ValueError, "between 0 and"),
    ],
)
def test_what_is_no_report_is_refused_where_it_is_made(
    agent: World, step: Any, metrics: Any, error: type[Exception], message: str
) -> None:
    with heats.trial() as t, pytest.raises(error, match=message):
        t.report(step, metrics)
    assert agent.record.requests == []


def test_all_requests_share_one_connection(agent: World) -> None:
    with heats.trial() as t:
        for step in range(50):
            t.report(step, loss=0.1)
    assert (len(agent.record.requests), agent.record.connections) == (50, 1)


def test_threads_share_the_connection_and_lose_nothing(agent: World) -> None:
    with heats.trial() as t:

        def report(thread: int) -> None:
            for i in range(25):
                with t.checkpoint(thread * 100 + i):
                    pass
                t.report(thread * 100 + i, loss=float(i))

        threads = [threading.Thread(target=report, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    steps = [body["step"] for body in agent.record.bodies("/v1/report")]
    assert sorted(steps) == sorted(n * 100 + i for n in range(8) for i in range(25))
    assert agent.lines() == []
    assert agent.record.connections == 1


def test_a_restarted_agent_is_found_again(world: World) -> None:
    with heats.trial() as t:
        with running(world.socket, world.record):
            t.report(1, loss=0.1)
        with running(world.socket, world.record):
            t.report(2, loss=0.1)
    assert [body["step"] for body in world.record.bodies("/v1/report")] == [1, 2]
    assert world.lines() == []


def test_a_report_waits_for_an_agent_that_is_on_its_way(world: World) -> None:
    agents: list[Agent] = []
    starter = threading.Timer(0.2, lambda: agents.append(Agent(world.socket, world.record)))
    starter.start()
    with heats.trial() as t:
        t.report(1, loss=0.1)
    starter.join()
    agents[0].stop()
    assert [body["step"] for body in world.record.bodies("/v1/report")] == [1]
    assert world.lines() == []


@pytest.mark.usefixtures("impatient")
def test_reports_go_to_the_file_while_the_agent_is_away_and_are_sent_in_order_when_it_is_back(world: World) -> None:
    with heats.trial() as t:
        with pytest.warns(heats.AgentWarning, match="the agent is away"):
            assert not t.report(1, loss=0.5)
        assert not t.report(2, loss=math.nan)
        assert world.lines() == [
            {"step": 1, "metrics": {"loss": 0.5}},
            {"step": 2, "metrics": {"loss": "NaN"}},
        ]
        world.record.stop_from_step = 3
        with running(world.socket, world.record):
            assert t.report(3, loss=0.3).should_stop
    assert [body["step"] for body in world.record.bodies("/v1/report")] == [1, 2, 3]
    assert len(world.lines()) == 2


@pytest.mark.usefixtures("impatient")
def test_the_end_of_the_trial_sends_what_is_left(world: World) -> None:
    t = heats.trial()
    with pytest.warns(heats.AgentWarning):
        t.report(1, loss=0.5)
    with running(world.socket, world.record):
        t.close()
    assert [body["step"] for body in world.record.bodies("/v1/report")] == [1]


@pytest.mark.usefixtures("impatient")
def test_a_report_that_can_go_nowhere_is_not_lost_in_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATS_METRICS_FILE")
    t = heats.trial()
    with pytest.warns(heats.AgentWarning, match="kept in memory"):
        t.report(1, loss=0.5)
    with pytest.warns(heats.AgentWarning, match="1 reports are lost"):
        t.close()


def test_an_absent_agent_costs_its_patience_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    now = [0.0]

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        now[0] += seconds

    monkeypatch.setattr("heats._agent.time.sleep", sleep)
    monkeypatch.setattr("heats._agent.time.monotonic", lambda: now[0])
    t = heats.trial()
    with pytest.warns(heats.AgentWarning):
        t.report(1, loss=0.5)
    assert sum(pauses) == pytest.approx(5.0)
    pauses.clear()
    for step in range(2, 100):
        now[0] += 0.3
        t.report(step, loss=0.5)
    assert pauses == []
    assert [line["step"] for line in world.lines()] == list(range(1, 100))


def test_an_agent_that_cannot_answer_just_now_is_asked_again(agent: World) -> None:
    agent.record.statuses = [503, 429]
    with heats.trial() as t:
        t.report(1, loss=0.1)
    assert [body["step"] for body in agent.record.bodies("/v1/report")] == [1, 1, 1]


def test_a_refused_report_raises_with_the_agents_words(agent: World) -> None:
    agent.record.statuses = [422]
    with heats.trial() as t:
        with pytest.raises(heats.RefusedError, match="refused with 422"):
            t.report(1, loss=0.1)
        t.report(2, loss=0.1)
    assert agent.record.connections == 1, "the connection is still good"


@pytest.mark.usefixtures("impatient")
def test_a_report_that_is_refused_late_does_not_hold_up_the_others(world: World) -> None:
    with heats.trial() as t:
        with pytest.warns(heats.AgentWarning):
            t.report(1, loss=0.5)
        world.record.statuses = [422]
        with running(world.socket, world.record), pytest.warns(heats.AgentWarning, match="step 1 was refused"):
            t.report(2, loss=0.5)
    assert [body["step"] for body in world.record.bodies("/v1/report")] == [1, 2]


def test_asking_for_the_verdict_holds_up_no_report(agent: World) -> None:
    with heats.trial() as t:
        asked: list[bool] = []
        asker = threading.Thread(target=lambda: asked.append(t.poll_stop(wait_s=5)))
        asker.start()
        assert agent.record.stop_asked.wait(10)
        t.report(1, loss=0.1)
        assert asked == []
        agent.record.answer_stop.set()
        asker.join()
        assert asked == [True]
        assert t.should_stop
    assert ("GET", "/v1/stop?wait=5000ms", None) in agent.record.requests


@pytest.mark.usefixtures("impatient")
def test_an_agent_that_is_away_says_go_on(world: World) -> None:
    with heats.trial() as t:
        assert t.poll_stop() is False


def test_without_a_socket_reports_go_to_the_file(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEATS_API_SOCK")
    with heats.trial() as t:
        assert not t.local
        assert not t.report(1, loss=0.5)
    assert world.lines() == [{"step": 1, "metrics": {"loss": 0.5}}]


def test_a_forked_child_uses_a_connection_of_its_own(agent: World, tmp_path: Path) -> None:
    with heats.trial() as t:
        t.report(1, loss=0.1)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                t.report(2, loss=0.1)
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        t.report(3, loss=0.1)
    assert [body["step"] for body in agent.record.bodies("/v1/report")] == [1, 2, 3]
    assert agent.record.connections == 2
