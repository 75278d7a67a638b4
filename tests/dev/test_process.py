"""Children die with us, and what outlived us is ended by the next run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dev.process import Lock, Process, StackError, end_remembered, free_port, remember, remembered, started

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
PARENT = """
import sys
import time
from pathlib import Path
from dev.process import Process
child = Process("child", [sys.executable, "-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]))
child.start()
print(child.child.pid, flush=True)
sys.stdin.read()
"""


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, tmp_path / "log"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert started(child)

    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 10
    while started(child):
        assert time.monotonic() < deadline, "the child lives"


def test_what_an_earlier_run_left_behind_is_ended(tmp_path: Path) -> None:
    left = subprocess.Popen(SLEEP, start_new_session=True, stdout=subprocess.DEVNULL)
    remember(tmp_path / "note.json", left.pid)

    assert end_remembered(tmp_path / "note.json")

    assert left.wait(5) == -signal.SIGTERM
    assert not (tmp_path / "note.json").exists()


def test_a_process_that_got_the_pid_of_an_earlier_one_is_left_alone(tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    note.write_text(json.dumps({"pid": os.getpid(), "started": "1"}))

    assert remembered(note) is None
    assert not end_remembered(note)


def test_a_note_that_was_cut_short_is_no_process(tmp_path: Path) -> None:
    (tmp_path / "note.json").write_text('{"pid": 1')

    assert remembered(tmp_path / "note.json") is None


def test_a_program_that_ends_instead_of_getting_ready_says_why(tmp_path: Path) -> None:
    broken = Process("Broken", [sys.executable, "-c", "raise SystemExit('no luck')"], log=tmp_path / "log")
    broken.start()

    with pytest.raises(StackError, match=r"Broken ended \(code 1: no luck"):
        broken.wait_until(lambda: False)


def test_a_program_that_is_not_ready_in_time_is_quoted_where_it_tells_of_trouble(tmp_path: Path) -> None:
    (tmp_path / "log").write_text('{"level":"error","event":"of an earlier run"}\n')
    lines = ('{"level":"warning","event":"no room"}', '{"level":"info","event":"setup plugin"}')
    program = f"import time; print(*{lines!r}, sep=chr(10), flush=True); time.sleep(600)"
    slow = Process("Slow", [sys.executable, "-c", program], log=tmp_path / "log")
    slow.start()
    try:
        slow.wait_until(lambda: b"setup plugin" in slow.log.read_bytes())
        with pytest.raises(
            StackError, match=r'Slow is not ready after 0 s.*: \{"level":"warning","event":"no room'
        ):
            slow.wait_until(lambda: False, patience=0)
    finally:
        slow.stop()


def test_one_process_holds_a_lock_at_a_time(tmp_path: Path) -> None:
    mine, other = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")

    assert mine.take()
    assert not other.take()
    mine.release()
    assert other.take()


def test_a_port_in_use_gives_way_to_a_free_one() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert free_port(port) not in (port, 0)
