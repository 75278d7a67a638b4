"""Hears what was rung: the other end of `ringer`."""

import asyncio
from typing import Any

from psycopg import AsyncConnection, Notify

_A_MOMENT = 1.0  # Seconds for the rest of a packet whose beginning has come.


async def heard(connection: AsyncConnection[Any], seconds: float | None = None) -> list[Notify]:
    """What was notified on a connection that listens: at least one, or none after so many seconds.

    What came while the connection began to listen may come with the next: look for yourself at first.
    Raises psycopg.OperationalError when the server hangs up. Until then nothing runs: psycopg's own wait
    looks ten times a second whether somebody pressed Ctrl-C, which was half of what an idle worker did.
    """
    loop = asyncio.get_running_loop()
    end = None if seconds is None else loop.time() + seconds
    while await _says_something(connection, end):
        if told := [each async for each in connection.notifies(timeout=_A_MOMENT, stop_after=1)]:
            return told
    return []


async def _says_something(connection: AsyncConnection[Any], end: float | None) -> bool:
    """Whether there is something to read, be it a notice or not, before the loop's clock shows `end`."""
    loop, socket = asyncio.get_running_loop(), connection.fileno()
    said = loop.create_future()

    def say(something: bool) -> None:
        if not said.done():
            said.set_result(something)

    loop.add_reader(socket, say, True)
    alarm = loop.call_at(end, say, False) if end is not None else None
    try:
        return bool(await said)
    finally:
        loop.remove_reader(socket)
        if alarm:
            alarm.cancel()
