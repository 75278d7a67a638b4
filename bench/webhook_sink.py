"""A receiver of webhooks that notes when each announcement came: `python -m bench.webhook_sink PORT`.

It answers at once, and verifies nothing: a receiver's own work is not what is measured. `GET /seen` has, for
each webhook's path, how many came, how many differ, when the first and the last did, and how long each had
been on its way.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import uvloop

from bench.http_sink import Connection, Sink


@dataclass
class Seen:
    taken: int = 0
    bodies: set[int] = field(default_factory=set)
    first: float = 0
    last: float = 0
    delays: list[float] = field(default_factory=list)  # Seconds.


class Receiver(Sink):
    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Seen] = {}

    def answer(self, target: bytes, body: bytes) -> tuple[int, bytes]:
        if target == b"/seen":
            return 200, orjson.dumps({path: told(each) for path, each in self.seen.items()})
        now, said = time.time(), orjson.loads(body)
        seen = self.seen.setdefault(target.decode(), Seen(first=now))
        seen.taken += 1
        seen.last = now
        seen.bodies.add(hash(body))
        seen.delays.append(now - datetime.fromisoformat(said["timestamp"]).timestamp())
        return 202, b"{}"


def told(seen: Seen) -> dict[str, object]:
    return {
        "taken": seen.taken,
        "bodies": len(seen.bodies),
        "first": seen.first,
        "last": seen.last,
        "delays": seen.delays,
    }


async def serve(port: int) -> None:
    sink = Receiver()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(sink), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
