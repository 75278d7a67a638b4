"""A program that was forked is as one that was started: what it says, how it ends, whom it outlives."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from dev.places import ROOT
from dev.process import Process, free_port
from dev.stack import is_up
from tests.forks import Fork

AN_API = """
import sys
from pathlib import Path
from tests.test_forks import an_api
print(an_api(Path(sys.argv[1])).child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("words", "environment"), [(["--version"], {}), (["worker"], {"PORT": "eighty"}), (["campaign"], {})]
)
def test_it_says_the_same_and_ends_with_the_same_code(
    words: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    ends = []
    for kind in (Process, Fork):
        log = tmp_path / kind.__name__
        command = [sys.executable, "-m", "cli", *words]
        process = kind("it", command, log=log, environment=environment, folder=ROOT)
        process.start()
        assert process.child
        ends.append((process.child.wait(60), log.read_text()))

    assert ends[0] == ends[1]


def test_it_is_in_a_session_of_its_own_and_stops_or_is_killed(tmp_path: Path) -> None:
    for stop, code in ((Process.stop, 0), (Process.kill, -signal.SIGKILL)):
        api = an_api(tmp_path)
        assert api.child
        assert psutil.Process(api.child.pid).is_running()
        assert api.running
        stop(api)
        assert (api.running, api.exit_code) == (False, code)


def test_it_outlives_nobody_who_started_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AN_API, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        api = psutil.Process(int(starter.stdout.readline()))
        family = [api, *api.parents()[:2], *api.children()]
        starter.kill()

    assert psutil.wait_procs(family, timeout=20)[1] == []


def an_api(folder: Path) -> Fork:
    """One that answers, of no database."""
    port = free_port()
    environment = {"PORT": str(port), "STATE_DIR": str(folder)}
    api = Fork(
        "API", [sys.executable, "-m", "cli", "api"], log=folder / "log", environment=environment, folder=ROOT
    )
    api.start()
    api.wait_until(lambda: is_up(f"http://127.0.0.1:{port}/health"))
    return api
