"""Stops this clone's stack if it runs, and removes all its state. Standard library only."""

import os
import shutil
import signal
import sys
import time
from contextlib import suppress

from dev.places import database_home, memory_home, state
from dev.process import end_remembered, remembered


def main() -> None:
    supervisor = state() / "run" / "stack.json"
    pid = remembered(supervisor)
    if pid is not None:
        print(f"Stopping the stack (process {pid}) …", flush=True)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 60
        while remembered(supervisor) and time.monotonic() < deadline:
            time.sleep(0.1)
    for note in [*(state() / "run").glob("*.json"), *database_home().glob("*.process.json")]:
        end_remembered(note, signal.SIGINT)
    places = [place for place in (database_home(), memory_home(), state()) if place.exists()]
    for place in places:
        try:
            shutil.rmtree(place)
        except OSError as error:
            sys.exit(f"campanile: {place} can't be removed ({error}): remove it as the user who made it")
        print(f"Removed {place}")
    if not places:
        print("There is nothing to remove.")


if __name__ == "__main__":
    main()
