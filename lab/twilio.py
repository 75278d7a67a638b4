"""Twilio's Programmable Messaging: one message a call, form encoded, answered before anything is sent.

Who wrote STOP is opted out with Twilio itself: a message to them is refused with 21610.
"""

import re
import secrets
from base64 import b64decode
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import Desk, desk
from lab.record import Accepted, Call

router = APIRouter(prefix="/2010-04-01/Accounts/{account}")

NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
LONGEST_BODY = 1600  # Characters.
LONGEST_VALIDITY = 36_000  # Seconds.
GSM = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = set("^{}\\[~]|€\f")  # Two places each.

STATUS_OF = {20003: 401, 20404: 404, 20429: 429, 20500: 500, 20503: 503}
CODE_OF = {401: 20003, 403: 20403, 404: 20404, 429: 20429, 500: 20500, 503: 20503}
WORDS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21617: "The concatenated message body exceeds the 1600 character limit.",
}


class Bad(Exception):
    """A refusal, with Twilio's code."""

    def __init__(self, code: int, message: str | None = None) -> None:
        super().__init__(message or WORDS.get(code, "The lab was told to say so."))
        self.code = code


def problem(no: Bad, status: int | None = None) -> Response:
    status = status or STATUS_OF.get(no.code, 400)
    where = f"https://www.twilio.com/docs/errors/{no.code}"
    return json({"code": no.code, "message": str(no), "more_info": where, "status": status}, status)


def refuse(status: int, code: str | None) -> Response:
    return problem(Bad(int(code) if code else CODE_OF.get(status, 20000 + status)), status)


def known(request: Request, lab: Desk, account: str) -> None:
    """Raises `Bad` unless it is the account's own token."""
    kind, _, given = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, password = b64decode(given).decode().partition(":")
    except ValueError:
        user = password = ""
    if kind.lower() != "basic" or lab.accounts.twilio.get(user) != password or not password:
        raise Bad(20003)
    if user != account:
        raise Bad(20404, f"The requested resource {request.url.path} was not found")


@router.get(".json")
async def show_account(request: Request, account: str) -> Response:
    lab = desk(request)
    try:
        known(request, lab, account)
    except Bad as no:
        return problem(no)
    shown = {
        "sid": account, "owner_account_sid": account, "friendly_name": "Lab", "status": "active",
        "type": "Full", "auth_token": lab.accounts.twilio[account], "date_created": dated(0),
        "date_updated": dated(0), "uri": f"/2010-04-01/Accounts/{account}.json", "subresource_uris": {},
    }  # fmt: skip
    return await lab.look("twilio", json(shown), refuse)


@router.post("/Messages.json")
async def create_message(request: Request, account: str) -> Response:
    lab = desk(request)
    body = await request.body()
    form = dict(parse_qsl(body.decode(), keep_blank_values=True))
    try:
        known(request, lab, account)
        validate(form)
    except Bad as no:
        return problem(no)
    to, sender = form["To"], form.get("From") or form["MessagingServiceSid"]

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            return problem(Bad(int(code or 21211)))
        if (sender, to) in lab.opted_out:
            return problem(Bad(21610))
        id_ = f"SM{secrets.token_hex(16)}"
        callback = urlsplit(form.get("StatusCallback", ""))
        own = parse_qs(callback.query).get("message", [None])[0]
        lab.record.accept("twilio", Call(body, account, short=True), [(0, id_, own, to)])
        lab.states[id_] = "accepted" if form.get("MessagingServiceSid") else "queued"
        return json(resource(lab, account, id_, form, lab.states[id_]), 201)

    return await lab.take("twilio", [to], accept, refuse)


@router.get("/Messages.json")
async def list_messages(
    request: Request, account: str, To: str | None = None, From: str | None = None, PageSize: int = 50
) -> Response:
    """All at once: who asks by recipient finds few."""
    lab = desk(request)
    try:
        known(request, lab, account)
    except Bad as no:
        return problem(no)
    found = []
    for one in lab.record.find("twilio", To):
        form = dict(parse_qsl(one.call.body.decode(), keep_blank_values=True))
        if one.call.path == account and From in (None, form.get("From")):
            found.append(resource(lab, account, one.id, form, lab.states.get(one.id, "queued"), one.at))
    uri = f"/2010-04-01/Accounts/{account}/Messages.json?PageSize={PageSize}&Page=0"
    page = {
        "messages": found[::-1], "page": 0, "page_size": PageSize, "start": 0, "end": max(0, len(found) - 1),
        "uri": uri, "first_page_uri": uri, "next_page_uri": None, "previous_page_uri": None,
    }  # fmt: skip
    return await lab.look("twilio", json(page), refuse)


@router.get("/Messages/{sid}.json")
async def show_message(request: Request, account: str, sid: str) -> Response:
    lab = desk(request)
    try:
        known(request, lab, account)
        one = lab.record.by_id.get(sid)
        if one is None or one.provider != "twilio":
            raise Bad(20404, f"The requested resource {request.url.path} was not found")
    except Bad as no:
        return problem(no)
    form = dict(parse_qsl(one.call.body.decode(), keep_blank_values=True))
    return json(resource(lab, account, one.id, form, lab.states.get(sid, "queued"), one.at))


def validate(form: dict[str, str]) -> None:
    to = form.get("To", "")
    if not to:
        raise Bad(21604)
    if not NUMBER.fullmatch(to.removeprefix("whatsapp:")):
        raise Bad(21211, f"The 'To' number {to} is not a valid phone number.")
    if not form.get("From") and not form.get("MessagingServiceSid"):
        raise Bad(21603)
    if not form.get("Body") and not form.get("ContentSid") and not form.get("MediaUrl"):
        raise Bad(21602)
    if len(form.get("Body", "")) > LONGEST_BODY:
        raise Bad(21617)
    callback = urlsplit(form.get("StatusCallback", "https://none.example"))
    if callback.scheme not in ("http", "https") or not callback.hostname:
        raise Bad(21609)
    period = form.get("ValidityPeriod") or "1"
    if not period.isdigit() or not 1 <= int(period) <= LONGEST_VALIDITY:
        raise Bad(21620, "ValidityPeriod is between 1 and 36000 seconds.")


def segments(body: str) -> int:
    """How many SMS carry this: 160 places of GSM-7 or 70 of UCS-2 alone, 153 or 67 each in several."""
    if set(body) <= GSM | GSM_EXTENDED:
        places, alone, each = len(body) + sum(one in GSM_EXTENDED for one in body), 160, 153
    else:
        places, alone, each = len(body.encode("utf-16-le")) // 2, 70, 67
    return 1 if places <= alone else -(-places // each)


def resource(
    lab: Desk, account: str, sid: str, form: dict[str, str], state: str, at: float | None = None
) -> dict[str, Any]:
    uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    when = dated(at)
    return {
        "account_sid": account, "api_version": "2010-04-01", "body": form.get("Body", ""),
        "date_created": when, "date_sent": None if state in ("queued", "accepted") else when,
        "date_updated": when, "direction": "outbound-api", "error_code": None, "error_message": None,
        "from": form.get("From"), "messaging_service_sid": form.get("MessagingServiceSid"),
        "num_media": "0", "price": None,
        "num_segments": "0" if form.get("MessagingServiceSid") else str(segments(form.get("Body", ""))),
        "price_unit": "USD", "sid": sid, "status": state, "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": form["To"], "uri": f"{uri}.json",
    }  # fmt: skip


def dated(at: float | None = None) -> str:
    """As RFC 2822 has it."""
    return format_datetime(datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC))


def contents(one: Accepted) -> dict[str, Any]:
    """What was asked for, as the form had it, and {"segments"}."""
    form = dict(parse_qsl(one.call.body.decode(), keep_blank_values=True))
    return {**form, "segments": segments(form.get("Body", ""))}
