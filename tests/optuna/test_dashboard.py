"""optuna-dashboard, unchanged, over a coordinator, as a browser shows it. Left out where there is no Chromium.

Screenshots are kept where `HEATS_DASHBOARD` says, of a study of 10,000 trials then:

    HEATS_DASHBOARD=/tmp/dashboard cargo xtask verify optuna
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from cluster import PATIENCE, Cluster
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import GrpcStorageProxy
from playwright.sync_api import sync_playwright

SHOTS = os.environ.get("HEATS_DASHBOARD")
TRIALS = 10_000 if SHOTS else 200
#: How long a page may take, in milliseconds: a browser without a graphics card draws 10,000 points with a processor.
PAGE_MS = 600_000
#: Whether a graph on the page shows as many points as there are trials.
DRAWN = """trials => [...document.querySelectorAll(".js-plotly-plot")].some(plot =>
    plot.querySelector(".trace") && plot.data.some(trace => trace.x && trace.x.length >= trials))"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SPACE = {
    "x": FloatDistribution(-5, 5),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "opt": CategoricalDistribution(["adam", "sgd"]),
}


def _trial(number: int) -> optuna.trial.FrozenTrial:
    x = (number * 7919 % 10_007) / 1_000.7 - 5
    params = {"x": x, "lr": 10 ** -(1 + number % 4), "opt": ["adam", "sgd"][number % 2]}
    steps = {step: x * x + 1 / (step + 1) for step in range(5)}
    return optuna.create_trial(params=params, distributions=SPACE, value=x * x, intermediate_values=steps)


@pytest.fixture
def dashboard(three: Cluster) -> Iterator[str]:
    """Where the dashboard is, over a coordinator that does not lead."""
    host = three.hosts[0]
    follower = three.hosts[(three.leader() + 1) % 3]
    command = [sys.executable, str(Path(__file__).parent / "dashboard.py"), follower, host, "8080"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None and time.monotonic() < until, "the dashboard does not listen"
        with socket.socket() as probe:
            if probe.connect_ex((host, 8080)) == 0:
                break
        time.sleep(0.1)
    yield f"http://{host}:8080/dashboard"
    process.kill()
    process.wait()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to look at the dashboard with")
def test_the_pages_of_the_dashboard_open(three: Cluster, dashboard: str, tmp_path: Path) -> None:
    storage = GrpcStorageProxy(host=three.hosts[0], port=13000)
    study = optuna.create_study(study_name="looked-at", storage=storage)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: storage.create_new_trial(study._study_id, _trial(number)), range(TRIALS)))
    of_study = f"{dashboard}/studies/{study._study_id}"
    pages = {
        "list": (dashboard, f"text={study._study_id}. looked-at", False),
        "history": (of_study, "text=looked-at (id=", True),
        "analytics": (f"{of_study}/analytics", "text=looked-at (id=", True),
        "trials": (f"{of_study}/trials", f"text={TRIALS} Trials", False),
    }
    shots = Path(SHOTS) if SHOTS else tmp_path
    shots.mkdir(exist_ok=True)
    for name, (address, shown, is_graph) in pages.items():
        errors: list[str] = []
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1400, "height": 1000})
            page.set_default_timeout(PAGE_MS)
            page.on("pageerror", lambda error, errors=errors: errors.append(str(error)))
            page.goto(address)
            page.wait_for_selector(shown, state="attached")
            if is_graph:
                page.wait_for_function(DRAWN, arg=TRIALS)
            page.screenshot(path=shots / f"{name}.png", timeout=PAGE_MS)
            assert page.locator("text=Failed to").count() == 0, name
            browser.close()
        assert errors == [], name
    storage.close()
