"""The set-up's commands: two at once share a terminal, and none is left behind."""

import io
import sys
import time
from pathlib import Path

import pytest

from dev.commands import Beside, SetupError, Terminal, run
from dev.process import started

PARENT_AND_CHILD = """
import subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
new = Path(sys.argv[1] + ".new")
new.write_text(str(child.pid))
new.rename(sys.argv[1])
time.sleep(600)
"""


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_that_stays_is_told_above_the_one_that_passes() -> None:
    screen = Screen()
    terminal = Terminal(screen)

    terminal.progress("20 of 85")
    terminal.say("Temporal: 10 s")
    terminal.progress("Unpacking them", end=True)
    terminal.say("Done")

    wiped = screen.getvalue().replace("\r\x1b[K", "\r")
    assert wiped == "\r  20 of 85\rTemporal: 10 s\n  20 of 85\r  Unpacking them\nDone\n"


def test_where_nobody_looks_every_line_stays() -> None:
    out = io.StringIO()
    terminal = Terminal(out)

    terminal.progress("20 of 85")
    terminal.say("Temporal: 10 s")

    assert out.getvalue() == "  20 of 85\nTemporal: 10 s\n"


def test_a_failure_beside_us_is_one_sentence_and_waits_until_we_ask() -> None:
    with (
        Beside([sys.executable, "-c", "import sys; sys.exit('campanile: there is no Go')"]) as failing,
        pytest.raises(SetupError) as failure,
    ):
        failing.finish()

    assert str(failure.value) == "there is no Go"


def test_a_command_beside_us_that_is_killed_is_told_from_one_that_did_its_work() -> None:
    with (
        Beside([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) as killed,
        pytest.raises(SetupError, match="ended early"),
    ):
        killed.finish()


def test_a_command_beside_us_that_did_its_work_raises_nothing() -> None:
    with Beside([sys.executable, "-c", ""]) as good:
        good.finish()


def test_leaving_early_ends_the_command_beside_us_and_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with Beside([sys.executable, "-c", PARENT_AND_CHILD, note]) as busy:
        while not note.exists():
            assert busy.child.poll() is None
            time.sleep(0.02)

    assert busy.child.poll() is not None
    child = int(note.read_text())
    while started(child):  # It was killed; the kernel may take a moment.
        time.sleep(0.02)


def test_a_command_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(SetupError, match=r"failed \(no luck\): mend that"):
        run([sys.executable, "-c", "import sys; sys.exit('first words\\nno luck')"])
