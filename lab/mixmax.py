"""Mixmax: /v1/send/, one mail through somebody's own Gmail account. It carries no id of the client's."""

import secrets
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import desk
from lab.record import Accepted, Call

router = APIRouter()


def refuse(status: int, code: str | None) -> Response:
    answer = json({"message": code or "The lab was told to say so."}, status)
    if status == 429:
        answer.headers["Retry-After"] = "1"
    return answer


@router.post("/v1/send")
@router.post("/v1/send/")
async def send(request: Request) -> Response:
    lab = desk(request)
    if request.headers.get("x-api-token") not in lab.accounts.mixmax:
        return json({"message": "Invalid API token"}, 401)
    body = await request.body()
    try:
        message = orjson.loads(body)["message"]
        to = [one.strip() for one in message["to"].split(",")]
        good = all("@" in one for one in to) and bool(message.get("subject")) and bool(message.get("html"))
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        return json({"message": "message needs to, subject and html"}, 400)

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            return json({"message": code or f"Invalid recipient: {to[min(refused)]}"}, 400)
        name = secrets.token_hex(12)
        lab.record.accept(
            "mixmax", Call(body), [(at, f"{name}-{at}", None, one) for at, one in enumerate(to)]
        )
        return json({"_id": name})

    return await lab.take("mixmax", to, accept, refuse)


@router.get("/v1/users/me")
async def me(request: Request) -> Response:
    lab = desk(request)
    if request.headers.get("x-api-token") not in lab.accounts.mixmax:
        return json({"message": "Invalid API token"}, 401)
    return await lab.look("mixmax", json({"_id": "5" * 24, "email": "ada@shop.example"}), refuse)


def contents(one: Accepted) -> dict[str, Any]:
    """What the recipient gets: {"from", "to", "cc", "bcc", "subject", "html"}."""
    return {**orjson.loads(one.call.body)["message"], "to": one.recipient}
