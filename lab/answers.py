"""Answers of the lab, good and bad."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lab.asgi_server import CUT, HANG


def json(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")


def written(body: Any, status: int, headers: Mapping[str, str]) -> Response:
    """A body that somebody ordered: a text as it is, the rest as JSON."""
    if isinstance(body, str):
        return Response(body, status, dict(headers), "text/plain")
    return json(body, status, headers)


class Cut(Response):
    """No answer: the connection is gone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": CUT})


class Hang(Response):
    """No answer: the connection stays."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": HANG})


async def later(answer: Response, seconds: float) -> Response:
    if seconds:
        await asyncio.sleep(seconds)
    return answer
