"""A steady load: requests that go out when their time has come, whether or not the last one was answered.

What a request waited is counted from the moment it was due, so that a server which stalls is seen to stall
(https://www.scylladb.com/2021/04/22/on-coordinated-omission/ explains why that matters).
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast


@dataclass
class Load:
    """How requests fared. `waits` are in milliseconds."""

    waits: list[float] = field(default_factory=list)
    refused: int = 0  # Answered with anything but 2xx.
    total: int = 0
    complete: asyncio.Event = field(default_factory=asyncio.Event)

    def answered(self, wait: float, good: bool) -> None:
        self.waits.append(wait)
        self.refused += not good
        if len(self.waits) == self.total:
            self.complete.set()

    def p(self, share: float) -> float:
        ordered = sorted(self.waits)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Line(asyncio.Protocol):
    """One kept connection: answers come in the order of the requests."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._due: deque[float] = deque()
        self._read = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass of it.

    def send(self, request: bytes, due: float) -> None:
        assert self._transport is not None
        self._due.append(due)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._read += data
        now = time.perf_counter()
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = self._read[:end].lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            if len(self._read) < end + 4 + length:
                return
            self._read = self._read[end + 4 + length :]
            self._load.answered(1000 * (now - self._due.popleft()), head.startswith(b"http/1.1 2"))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def steady(
    port: int, request: Callable[[int], bytes], rate: float, seconds: float, connections: int = 64
) -> Load:
    """Send `rate` requests a second, made by `request` of their number, over kept connections in turn."""
    load = Load(total=int(rate * seconds))
    loop = asyncio.get_running_loop()
    lines = [
        (await loop.create_connection(lambda: _Line(load), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    began, sent = time.perf_counter(), 0
    while sent < load.total:
        due = min(load.total, int((time.perf_counter() - began) * rate) + 1)
        for n in range(sent, due):
            lines[n % connections].send(request(n), began + n / rate)
        sent = due
        await asyncio.sleep(0.001)
    async with asyncio.timeout(10):
        await load.complete.wait()
    for line in lines:
        line.close()
    return load
