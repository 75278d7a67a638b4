"""How a test talks to the lab itself: what was accepted, what is to go wrong, and forgetting all of it."""

from itertools import islice
from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import desk
from lab.http_faults import HttpFault
from lab.ses import RenderingFailure

router = APIRouter(prefix="/lab")


@router.get("/accepted")
async def accepted(
    request: Request,
    provider: str | None = None,
    recipient: str | None = None,
    own: str | None = None,
    after: int = 0,
    limit: int | None = None,
    content: bool = False,
) -> Response:
    """{"accepted", "calls", "offered": by provider, "rows"}. `limit=0` gives counts alone; `content` adds to
    each row what its recipient would see."""
    record = desk(request).record
    end = None if limit is None else after + limit
    found = islice(record.find(provider, recipient, own), after, end)

    def shown(one: Any) -> dict[str, Any]:
        if not content:
            return one.line()  # type: ignore[no-any-return]
        try:
            return {**one.line(), "content": record.content(one)}
        except RenderingFailure as failure:
            return {**one.line(), "content": {"failure": str(failure)}}

    return json({**record.counts(), "rows": [shown(one) for one in found]})


@router.post("/faults", status_code=201)
async def add_fault(request: Request, fault: HttpFault) -> HttpFault:
    return desk(request).faults.add(fault)


@router.get("/faults")
async def list_faults(request: Request) -> list[HttpFault]:
    return desk(request).faults.pending


@router.delete("/faults", status_code=204)
async def clear_faults(request: Request, provider: str | None = None) -> None:
    desk(request).faults.clear(provider)


@router.post("/accounts", status_code=204)
async def add_account(request: Request) -> None:
    """Let somebody in: {"provider", "id" (key id, account or phone number id), "secret", "scopes"}."""
    asked = orjson.loads(await request.body())
    accounts = desk(request).accounts
    match asked["provider"]:
        case "sendgrid":
            accounts.sendgrid[asked["secret"]] = asked.get("scopes", ["mail.send"])
        case "mixmax":
            accounts.mixmax.add(asked["secret"])
        case provider:
            getattr(accounts, provider)[asked["id"]] = asked["secret"]


@router.delete("", status_code=204)
async def forget(request: Request) -> None:
    """Forget what was accepted and what is to go wrong. A file to keep it in stays as it is."""
    lab = desk(request)
    lab.record.forget()
    lab.faults.clear()
