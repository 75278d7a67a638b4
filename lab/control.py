"""How a test talks to the lab itself: what was accepted, what is to go wrong, and forgetting all of it."""

from itertools import islice
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel
from starlette.responses import Response

from lab.answers import json
from lab.desk import desk
from lab.http_faults import HttpFault
from lab.ses import RenderingFailure
from lab.subscriptions import Subscription

router = APIRouter(prefix="/lab")


class Template(BaseModel):
    """A WhatsApp template that Meta approved."""

    name: str
    language: str = "en_US"
    parameters: int = 0  # Of its body.


class Receiver(BaseModel):
    """A server that takes webhooks signed with this secret."""

    name: str
    secret: str  # whsec_…


class Wish(BaseModel):
    """With a key, only who signs with it may write to the browser."""

    server_key: str | None = None


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
    try:
        match asked["provider"]:
            case "sendgrid":
                accounts.sendgrid[asked["secret"]] = asked.get("scopes", ["mail.send"])
            case "mixmax":
                accounts.mixmax.add(asked["secret"])
            case "ses" | "twilio" | "whatsapp" as provider:
                getattr(accounts, provider)[asked["id"]] = asked["secret"]
            case _:
                named = "ses, sendgrid, mixmax, twilio or whatsapp"
                raise HTTPException(400, f"provider: There are accounts with {named}.")
    except KeyError as missing:
        raise HTTPException(400, f"{missing.args[0]}: This field is required.") from None


@router.post("/templates", status_code=204)
async def add_template(request: Request, template: Template) -> None:
    """Let WhatsApp know a template."""
    desk(request).templates[template.name, template.language] = template.parameters


@router.post("/receivers", status_code=204)
async def add_receiver(request: Request, receiver: Receiver) -> None:
    """Let a server take webhooks at /receiver/{name}."""
    desk(request).receivers[receiver.name] = receiver.secret


@router.post("/subscriptions", status_code=201)
async def subscribe(request: Request, wish: Wish) -> dict[str, object]:
    """A browser that wants push messages, as its PushSubscription.toJSON() has it."""
    lab = desk(request)
    one = Subscription(wish.server_key)
    lab.subscriptions[one.id] = one
    return one.described(lab.url)


@router.delete("/subscriptions/{id_}", status_code=204)
async def unsubscribe(request: Request, id_: str) -> None:
    """The browser wants no more: its endpoint says 410."""
    desk(request).subscriptions[id_].gone = True


@router.delete("", status_code=204)
async def forget(request: Request) -> None:
    """Forget what was accepted, what is to go wrong and what is to be reported. A file to keep it in stays as
    it is."""
    desk(request).forget()
    request.app.state.reporter.forget()
