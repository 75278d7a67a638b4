"""How a test asks for webhooks, and how their receivers check them: keys, certificates, confirmations."""

import secrets
from typing import Any

import httpx2
from fastapi import APIRouter, HTTPException, Request
from pydantic import BaseModel
from starlette.responses import Response

from lab import ses_reports, twilio_reports, whatsapp_reports
from lab.answers import json
from lab.desk import Desk, desk
from lab.http_faults import Where
from lab.record import Accepted
from lab.reports import Hook, Reporter, rerouted

router = APIRouter()


class Unanswered(Exception):
    """A webhook's address that did not shake hands."""


class Wish(BaseModel):
    """What is to be reported now: of one message, by the client's id or the provider's, of one recipient's,
    or of all."""

    provider: str
    event: str  # As in a plan.
    message: str | None = None
    recipient: str | None = None
    wait: bool = True  # Until it has been told.


class Inbound(BaseModel):
    """What a person writes to one of our numbers."""

    provider: str
    from_: str
    to: str  # WhatsApp: the id of the phone number.
    text: str
    service: str | None = None  # Twilio: the Messaging Service that the number belongs to.


def reporter(request: Request) -> Reporter:
    found = request.app.state.reporter
    assert isinstance(found, Reporter)
    return found


@router.post("/lab/webhooks", status_code=201)
async def report_to(request: Request, hook: Hook) -> Response:
    """Report to this address from now on."""
    for word in hook.plan:
        known_word(reporter(request), hook.provider, word)
    try:
        await introduce(desk(request), reporter(request), hook)
    except Unanswered as no:
        return json({"detail": str(no)}, 400)
    return status(reporter(request), 201)


@router.get("/lab/webhooks")
async def state(request: Request) -> Response:
    """{"hooks", "pending": events, "unconfirmed": providers, "answers": requests by their answers}."""
    return status(reporter(request))


@router.post("/lab/fire")
async def fire(request: Request, wish: Wish) -> dict[str, int]:
    """Report something now; answers when it has been told."""
    told = reporter(request)
    known_word(told, wish.provider, wish.event)
    if wish.wait and wish.provider not in told.hooks:
        raise HTTPException(409, f"Say first where {wish.provider} is to report: POST /lab/webhooks.")
    if wish.wait and wish.provider in told.unconfirmed:
        raise HTTPException(
            409,
            f"{wish.provider} reports once SubscribeURL was visited, and it was not: see whether the "
            "confirmation was refused, or POST /lab/webhooks with confirm: false.",
        )
    found = chosen(desk(request), wish)
    for one in found:
        told.tell(one, wish.event)
    if wish.wait:
        await told.settled()
    return {"messages": len(found)}


@router.post("/lab/inbound")
async def inbound(request: Request) -> dict[str, Any]:
    """{"provider": "twilio" or "whatsapp", "from", "to", "text", "service"}; answers when told."""
    asked = await request.json()
    wish = Inbound.model_validate({**asked, "from_": asked["from"]})
    await write(desk(request), reporter(request), wish)
    return {"answers": reporter(request).answers}


@router.get("/lab/keys")
async def keys(request: Request) -> dict[str, str]:
    """What the receivers of webhooks must know."""
    known = reporter(request).keys
    return {
        "sendgrid_public_key": known.sendgrid_public,
        "sns_certificate_url": f"{desk(request).url}{ses_reports.CERTIFICATE}",
        "whatsapp_app_secret": known.app_secret,
        "whatsapp_verify_token": known.verify_token,
        "twilio_auth_token": next(iter(desk(request).accounts.twilio.values())),
    }


@router.get(ses_reports.CERTIFICATE)
async def certificate(request: Request) -> Response:
    return Response(reporter(request).keys.sns_certificate, media_type="application/x-pem-file")


@router.get("/")
async def confirm(request: Request) -> Response:
    """SNS: `?Action=ConfirmSubscription&TopicArn=…&Token=…`."""
    asked, told = request.query_params, reporter(request)
    if asked.get("Action") != "ConfirmSubscription":
        return json({"lab": "provider lab"})
    if asked.get("Token") not in told.unconfirmed.values():
        return Response("<ErrorResponse><Error><Code>InvalidParameter</Code></Error></ErrorResponse>", 400)
    told.unconfirmed.clear()
    told.wake.set()
    return Response(
        "<ConfirmSubscriptionResponse><ConfirmSubscriptionResult><SubscriptionArn>"
        f"{asked['TopicArn']}:lab</SubscriptionArn></ConfirmSubscriptionResult></ConfirmSubscriptionResponse>",
        media_type="text/xml",
    )


def known_word(told: Reporter, provider: str, event: str) -> None:
    """Refuses what a provider never reports."""
    if provider not in told.newsrooms:
        raise HTTPException(400, f"provider: These report: {', '.join(told.newsrooms)}.")
    words = told.words(provider)
    if event.partition(":")[0] not in words:
        raise HTTPException(400, f"event: {provider} reports {', '.join(sorted(words))}.")


async def introduce(lab: Desk, told: Reporter, hook: Hook) -> None:
    """Report to this address from now on, once it has shaken hands. Raises `Unanswered`."""
    if hook.provider == "whatsapp":
        await challenge(told, hook)
    told.listen(hook)
    if hook.provider == "ses" and hook.confirm:
        token = told.unconfirmed["ses"] = secrets.token_hex(32)
        twist = told.twist(lab.faults.strike("ses", Where.WEBHOOK))
        posting = ses_reports.confirmation(lab, hook, token, twist)
        answer = await told.post(hook, posting)
        if not answer.startswith("2"):
            raise Unanswered(f"The confirmation was answered with {answer}.")


async def challenge(told: Reporter, hook: Hook) -> None:
    """Meta asks an address whether it knows the token before it reports there."""
    word = secrets.token_hex(8)
    asked = {"hub.mode": "subscribe", "hub.verify_token": hook.verify_token, "hub.challenge": word}
    try:
        answer = await told.client.get(rerouted(hook.url, hook.send_to), params=asked)
    except httpx2.HTTPError as error:
        raise Unanswered(f"The challenge was not answered: {error}") from None
    if answer.status_code != 200 or answer.text != word:
        raise Unanswered(f"The challenge was answered with {answer.status_code} and another text.")


async def write(lab: Desk, told: Reporter, wish: Inbound) -> None:
    """Let a person write to us."""
    hook = told.hooks.get(wish.provider)
    if hook is None:
        raise HTTPException(409, f"Say first where {wish.provider} is to report: POST /lab/webhooks.")
    fault = lab.faults.strike(wish.provider, Where.WEBHOOK, [wish.from_])
    twist = told.twist(fault)
    if wish.provider == "twilio":
        args = (wish.from_, wish.to, wish.text, wish.service)
        posting = twilio_reports.inbound(lab, hook, *args, twist)
    else:
        posting = whatsapp_reports.inbound(lab, hook, wish.from_, wish.to, wish.text, twist)
    await told.send(hook, [posting], fault)


def chosen(lab: Desk, wish: Wish) -> list[Accepted]:
    record = lab.record
    if wish.message is not None and wish.message in record.by_id:
        return [record.by_id[wish.message]]
    return list(record.find(wish.provider, wish.recipient, wish.message))


def status(told: Reporter, code: int = 200) -> Response:
    return json(
        {
            "hooks": [hook.model_dump() for hook in told.hooks.values()],
            "pending": sum(map(len, told.due.values())),
            "unconfirmed": list(told.unconfirmed),
            "answers": dict(told.answers),
        },
        code,
    )
