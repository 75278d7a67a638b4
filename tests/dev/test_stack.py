"""The supervisor: one stack a clone, and nothing of it left when it is gone, whichever way it went."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from dev.process import remembered
from dev.story import CARRIERS
from settings import ROOT
from tests.support import eventually

LONG = 60.0  # Seconds for a start on a busy machine.


class Running:
    """`campanile dev` with a state folder of its own and ports that nobody else has."""

    def __init__(self, state: Path) -> None:
        self.state = state
        ports = {"PORT": "0", "TRACKING_PORT": "0", "TEMPORAL_ADDRESS": "127.0.0.1:0"}
        self.environment = {**os.environ, **ports, "STATE_DIR": str(state)}
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """As a script does with `&`, whose commands have SIGINT ignored."""
        handled = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", "dev"],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        finally:
            signal.signal(signal.SIGINT, handled)
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:
            said.append(line)
            if "Ctrl-C" in line:
                return
        raise AssertionError("".join(said))

    def demo(self) -> dict[str, Any]:
        """What the demo's summary says. Raises AssertionError with what the demo says where it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "cli", "demo", "--json"],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=4 * LONG,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def route_by(self, name: str) -> str:
        """A route for marketing mail by an account of this name. Returns the route's id."""
        account = self.post("/providers", {"name": name, "kind": "simulated", "settings": {}})
        route = {"channel": "email", "class": "marketing", "provider_id": account["id"]}
        return str(self.post("/routes", route)["id"])

    def get(self, path: str) -> dict[str, Any]:
        return self.ask("GET", path)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self.ask("POST", path, json=body)

    def ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.address['API_KEY']}"}
        url = f"{self.address['API_URL']}/api/v1{path}"
        answer = httpx2.request(method, url, headers=headers, trust_env=False, timeout=30, **more)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def again(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli", "dev"]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=LONG, check=False
        )

    @property
    def address(self) -> dict[str, str]:
        lines = (self.state / "stack.env").read_text().splitlines()[1:]
        return dict(line.split("=", 1) for line in lines)

    def ready(self) -> bool:
        try:
            return httpx2.get(f"{self.address['API_URL']}/ready", trust_env=False).status_code == 200
        except httpx2.HTTPError:
            return False

    def processes(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, how: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(LONG)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    state = tmp_path_factory.mktemp("stack") / "state"
    running = Running(state)
    running.start()
    yield running
    if running.process and running.process.poll() is None:
        running.end(signal.SIGTERM)
    subprocess.run([sys.executable, "-m", "dev.clean"], cwd=ROOT, env=running.environment, check=True)
    shutil.rmtree(state, ignore_errors=True)


def test_a_started_stack_is_ready_and_says_where_it_is(stack: Running) -> None:
    assert stack.ready()
    assert (
        httpx2.get(f"{stack.address['API_URL']}/mailbox", trust_env=False)
        .headers["location"]
        .startswith(stack.address["MAILBOX_URL"])
    )
    assert oct((stack.state / "stack.env").stat().st_mode)[-3:] == "600"


def test_a_second_start_says_that_it_runs_already_and_where(stack: Running) -> None:
    again = stack.again()

    assert again.returncode == 1
    assert "runs already" in again.stdout
    assert stack.address["API_URL"] in again.stdout


async def test_what_crashes_is_started_again(stack: Running) -> None:
    note = stack.state / "run" / "worker.json"
    worker = remembered(note)
    assert worker is not None

    os.kill(worker, signal.SIGKILL)

    async def another() -> bool:
        return remembered(note) not in (None, worker)

    await eventually(another, within=LONG, what="another worker")


async def test_a_stack_that_is_killed_leaves_no_orphans_and_starts_again_with_its_data(
    stack: Running,
) -> None:
    stack.post("/segments", {"name": "Everybody", "rule": {"all": []}})
    children = stack.processes()
    assert len(children) > 5

    stack.end(signal.SIGKILL)

    async def all_gone() -> bool:
        return not psutil.wait_procs(children, timeout=0.1)[1]

    await eventually(all_gone, within=20, what="the end of every child")
    stack.start()
    assert [one["name"] for one in stack.get("/segments")["items"]] == ["Everybody"]


def test_the_demo_sends_by_two_routes_of_which_one_fails_half_way_and_nobody_is_lost_or_written_to_twice(
    stack: Running,
) -> None:
    stack.route_by(CARRIERS[0])  # As a demo that was killed leaves it.

    done = stack.demo()

    people = done["segment"]
    campaign = {"queued": people, "accepted": people, "failed": 0, "skipped": 0, "unknown": 0, "twice": 0}
    assert done["campaign"].items() >= campaign.items()
    first, second = done["providers"]
    assert first["accepted"] == people // 2 > 0
    assert first["refused"] > 0
    assert (first["breaker"], first["reason"]) == ("open", "451 4.3.2 This relay takes no mail now")
    assert (second["accepted"], second["refused"]) == (people - people // 2, 0)
    assert done["mailbox"] == people + done["flow"]["messages"]
    assert done["visit"] == 3  # Whatever else became of the visitor, who is in the segment of everybody.
    assert stack.get("/routes")["items"] == []
    assert [one["name"] for one in stack.get("/providers")["items"]] == ["The installation's mail server"]
    assert httpx2.get(f"{stack.address['MAILBOX_URL']}/patience", trust_env=False).json() == {"mails": None}


def test_the_demo_does_not_write_by_the_providers_of_others(stack: Running) -> None:
    route = stack.route_by("Trial")

    with pytest.raises(AssertionError, match=f"goes by Trial.*DELETE /api/v1/routes/{route}"):
        stack.demo()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_within_seconds(stack: Running, how: signal.Signals) -> None:
    if how is signal.SIGINT:
        stack.start()
    children = stack.processes()
    began = time.monotonic()

    assert stack.end(how) == 0

    assert time.monotonic() - began < 25
    assert not any(child.is_running() for child in children)
    assert not (stack.state / "stack.env").exists()
