"""What machine a figure was measured on: rented processors differ, and change from hour to hour.

`python -m bench.machine` says how many million turns of an empty loop this Python does in a second.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.harness import Case
from dev.places import ROOT, state

TURNS = 5_000_000
COPIED = 128 << 20  # Bytes.
SYNCS = 200


def measure() -> list[Case]:
    """One core alone, two at once (less than twice as much where they share one), memory, and the disk."""
    alone = loops(1)
    return [
        Case("machine: one core", alone, "million turns/s", None, "higher"),
        Case("machine: two cores", loops(2), "million turns/s", None, "higher"),
        Case("machine: copying", copy(), "GB/s", None, "higher"),
        Case("machine: sync", sync(state()), "ms", None, "lower"),
    ]


def loops(processes: int) -> float:
    """What so many processes do together."""
    command = [sys.executable, "-m", "bench.machine"]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return sum(float(process.communicate()[0]) for process in running)


def copy() -> float:
    """What one core reads and writes of memory that it had not touched before, in 10^9 bytes a second."""
    source = bytearray(COPIED)
    began = time.perf_counter()
    bytes(source)
    return 2 * COPIED / 1e9 / (time.perf_counter() - began)


def sync(folder: Path) -> float:
    """The median of fdatasync after a page of 8 KB, in ms: what each commit waits for."""
    took: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(bytes(8192))
            file.flush()
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(1000 * (time.perf_counter() - began))
    return median(took)


def turn() -> float:
    began = time.perf_counter()
    for _ in range(TURNS):
        pass
    return TURNS / 1e6 / (time.perf_counter() - began)


if __name__ == "__main__":
    print(turn())
