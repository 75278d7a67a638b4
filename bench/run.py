"""Runs a benchmark, and says in one sentence why it could not run."""

import asyncio
import sys
from collections.abc import Coroutine

import uvloop

from dev.process import StackError, leave


def run(work: Coroutine[None, None, None]) -> None:
    """Run it and end the process: code 0, or 1 when something could not be measured."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except StackError as error:
        print(error, file=sys.stderr)
        leave(1)
    except KeyboardInterrupt:
        leave(130)
    leave(0)
