"""Bodies that come in pieces, from whoever: how long they may take, and what they may hold."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from starlette.types import Message

from api.ingest import Ingest
from domain.roles import KeyKind
from models.base import Sessions
from tests.api.sending import ADA, a_key, arrivals, served
from tests.databases import Database


class Sender:
    """A client without an Authorization header, who sends one piece after the other."""

    def __init__(self, app: Ingest, path: str = "/track/batch") -> None:
        self.pieces: asyncio.Queue[Message] = asyncio.Queue()
        self.said: list[Message] = []
        scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        self.asked = asyncio.create_task(app(scope, self.pieces.get, self._hear))

    async def _hear(self, message: Message) -> None:
        self.said.append(dict(message))

    def send(self, piece: bytes, *, more: bool = True) -> None:
        self.pieces.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    async def answer(self) -> tuple[int, dict[bytes, bytes], Any]:
        await asyncio.wait_for(self.asked, 5)
        start, body = self.said
        return start["status"], dict(start["headers"]), json.loads(body["body"])

    async def leave(self) -> None:
        self.asked.cancel()
        with suppress(asyncio.CancelledError):
            await self.asked


async def test_a_body_whose_end_is_withheld_is_given_up(sessions: Sessions) -> None:
    async with served(sessions, slowest=0.1) as (_, _, app):
        slow = Sender(app)
        slow.send(b'{"events": [')
        status, headers, problem = await slow.answer()
    assert (status, headers[b"connection"]) == (408, b"close")
    assert problem["type"] == "urn:campanile:problem:too-slow"


async def test_what_unfinished_bodies_hold_together_is_bounded_and_given_back(
    sessions: Sessions, database: Database
) -> None:
    key = await a_key(sessions, KeyKind.SECRET)
    whole = json.dumps({"key": key, "events": [{**ADA, "name": "x"}]}).encode()
    async with served(sessions, key, unfinished=1_000_000) as (site, _, app):
        waiting = [Sender(app) for _ in range(9)]
        for each in waiting:
            each.send(b" " * 100_000)
            each.send(b" " * 5_000)
        await asyncio.sleep(0.05)
        late = Sender(app)
        late.send(b" " * 100_000)
        status, headers, _ = await late.answer()
        assert (status, headers[b"retry-after"]) == (503, b"5")
        # Who sends a body at once is not kept up, nor who sends the little that there is room for.
        assert (await site.post("/track", json={**ADA, "name": "whole"})).status_code == 202
        small = Sender(app)
        small.send(whole[:20])
        small.send(whole[20:], more=False)
        assert (await small.answer())[0] == 202
        for each in waiting:
            await each.leave()
        again = Sender(app)
        again.send(b" " * 900_000)
        again.send(whole, more=False)
        assert (await again.answer())[0] == 202
    assert arrivals(database, "name") == ["whole", "x", "x"]
