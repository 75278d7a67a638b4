"""Somebody's own server, which is sent webhooks: it keeps what is signed as Standard Webhooks has it."""

from typing import Any

from fastapi import APIRouter, Request
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.responses import Response

from lab.answers import json
from lab.desk import desk
from lab.record import Accepted, Call

router = APIRouter()


def refuse(status: int, code: str | None) -> Response:
    return json({"error": code or "The lab was told to say so."}, status)


@router.post("/receiver/{name}")
async def receive(request: Request, name: str) -> Response:
    """The receiver `name` knows one secret, see `Desk.receivers`; its address is /receiver/{name}."""
    lab = desk(request)
    body = await request.body()
    secret = lab.receivers.get(name)
    if secret is None:
        return json({"error": "There is nobody of this name."}, 404)
    try:
        Webhook(secret).verify(body, dict(request.headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as no:
        return json({"error": str(no)}, 401)
    address = f"{lab.url}/receiver/{name}"

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            return refuse(int(code or 410), None)
        own = request.headers["webhook-id"]
        lab.record.accept("webhook", Call(body, name, dict(request.headers)), [(0, own, own, address)])
        return Response(status_code=204)

    return await lab.take("webhook", [address], accept, refuse)


def contents(one: Accepted) -> dict[str, Any]:
    """What came: {"body", "headers"}."""
    return {"body": one.call.body.decode(), "headers": one.call.headers}
