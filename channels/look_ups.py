"""Names are looked up by the system's resolver, and those that nobody answers for keep no others waiting.

The resolver blocks: for a name whose servers are dead many seconds, and whoever gives up waiting leaves the
thread where it is. So look-ups have threads of their own, a name has one of them at most however many ask for
it, and names that were answered soon the last time have some that no others get.
"""

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

RESOLVERS = 32  # Look-ups at a time in this process: of names that were answered soon the last time,
OTHERS = 64  # and of all others.
LONGEST_LOOK_UP = 5.0  # Seconds.
SOON = 1.0  # Seconds.
KNOWN = 10_000  # Names.


class NoTurn(TimeoutError):
    """It was not asked for the name in time, so this says nothing about the name."""


class LookUps:
    def __init__(self, resolvers: int = RESOLVERS, others: int = OTHERS) -> None:
        self._resolvers = ThreadPoolExecutor(resolvers, thread_name_prefix="look-up")
        self._others = ThreadPoolExecutor(others, thread_name_prefix="look-up")
        self._lock = threading.Lock()
        self._under_way: dict[tuple[str, int], Future[list[str]]] = {}
        self._known: dict[str, None] = {}  # Answered soon the last time; the one asked for longest ago first.

    async def look_up(self, host: str, port: int) -> list[str]:
        """The addresses of a host by the system's resolver, which also reads 0x7f.1 and 017700000001. Raises
        OSError; where it does not answer soon TimeoutError, and where it was not even asked `NoTurn`."""
        asked = self._ask(host, port)
        answer = asyncio.wrap_future(asked)
        answer.add_done_callback(_heard)
        await asyncio.wait([answer], timeout=LONGEST_LOOK_UP)
        if answer.done():
            return answer.result()
        if not asked.running() and not asked.done():
            raise NoTurn
        self._note(host, soon=False)
        raise TimeoutError

    def _ask(self, host: str, port: int) -> Future[list[str]]:
        resolve = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        with self._lock:
            asked = self._under_way.get((host, port))
            if asked is None:
                threads = self._resolvers if host in self._known else self._others
                asked = threads.submit(self._resolve, resolve, host, port)
                self._under_way[host, port] = asked
        return asked

    def _resolve(self, resolve: Callable[[], list[Any]], host: str, port: int) -> list[str]:
        began = time.monotonic()
        try:
            return list(dict.fromkeys(str(address[0]) for *_, address in resolve()))
        finally:
            self._note(host, soon=time.monotonic() - began < SOON)
            with self._lock:
                self._under_way.pop((host, port), None)

    def _note(self, host: str, *, soon: bool) -> None:
        with self._lock:
            self._known.pop(host, None)
            if soon:
                self._known[host] = None
            if len(self._known) > KNOWN:
                del self._known[next(iter(self._known))]


def _heard(answer: "asyncio.Future[list[str]]") -> None:
    """Also where nobody waits for it any more, or asyncio would complain."""
    if not answer.cancelled():
        answer.exception()


look_up = LookUps().look_up  # One for the process.
