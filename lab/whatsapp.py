"""WhatsApp's Cloud API: messages of one phone number, by template or within 24 hours after the person wrote.

A plain text outside of these 24 hours is taken, and fails afterwards with 131047.
"""

import re
import secrets
from base64 import b64encode
from typing import Any

import orjson
from fastapi import APIRouter, HTTPException, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import Desk, desk
from lab.record import Accepted, Call

router = APIRouter()

VERSION = re.compile(r"v2[1-6]\.0")
NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
LONGEST_TEXT = 4096  # Characters.
LONGEST_CALLBACK_DATA = 512  # Characters.

STATUS_OF = {
    0: 401, 190: 401, 3: 403, 10: 403, 368: 403, 131005: 403, 131031: 403, 4: 429, 80007: 429, 130429: 429,
    131048: 429, 131056: 429, 133016: 429, 1: 500, 131000: 500, 2: 503, 131016: 503, 131057: 503, 133004: 503,
    132001: 404,
}  # fmt: skip
CODE_OF = {401: 190, 403: 10, 404: 132001, 429: 130429, 500: 131000, 503: 131016}
WORDS = {
    1: "API Unknown", 2: "API Service", 4: "Application request limit reached",
    10: "Application does not have permission for this action", 100: "Invalid parameter",
    190: "Invalid OAuth access token - Cannot parse access token", 130429: "Rate limit hit",
    131000: "Something went wrong", 131016: "Service unavailable",
    131026: "Message undeliverable", 131047: "Re-engagement message",
    131049: "This message was not delivered to maintain healthy ecosystem engagement.",
    131050: "User has stopped marketing messages", 131056: "Pair rate limit hit",
    132000: "Number of parameters does not match the expected number of params",
    132001: "Template name does not exist in the translation",
}  # fmt: skip


class Bad(Exception):
    """A refusal, with Meta's code and details."""

    def __init__(self, code: int, details: str = "The lab was told to say so.") -> None:
        super().__init__(details)
        self.code = code


def problem(no: Bad, status: int | None = None) -> Response:
    words = WORDS.get(no.code, "Lab")
    error: dict[str, Any] = {
        "message": words if no.code == 190 else f"(#{no.code}) {words}",
        "type": "OAuthException",
        "code": no.code,
        "fbtrace_id": secrets.token_urlsafe(8),
    }
    if no.code != 190:
        error["error_data"] = {"messaging_product": "whatsapp", "details": str(no)}
    status = status or STATUS_OF.get(no.code, 403 if 200 <= no.code < 300 else 400)
    headers = {"WWW-Authenticate": 'OAuth "Facebook Platform" "invalid_token"'} if status == 401 else {}
    return json({"error": error}, status, headers)


def refuse(status: int, code: str | None) -> Response:
    return problem(Bad(int(code) if code else CODE_OF.get(status, 100)), status)


def known(request: Request, lab: Desk, version: str, phone: str) -> None:
    """Raises `Bad` unless it is the phone number's own token."""
    if not VERSION.fullmatch(version):
        raise HTTPException(404)
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or token not in lab.accounts.whatsapp.values():
        raise Bad(190)
    if lab.accounts.whatsapp.get(phone) != token:
        raise Bad(100, f"Unsupported request. Object with ID '{phone}' does not exist at {version}.")


@router.get("/{version}/{phone}")
async def show_phone(request: Request, version: str, phone: str) -> Response:
    lab = desk(request)
    try:
        known(request, lab, version, phone)
    except Bad as no:
        return problem(no)
    shown = {
        "verified_name": "Lab", "code_verification_status": "VERIFIED", "quality_rating": "GREEN",
        "display_phone_number": "+1 631-555-8151", "platform_type": "CLOUD_API", "id": phone,
    }  # fmt: skip
    return await lab.look("whatsapp", json(shown), refuse)


@router.post("/{version}/{phone}/messages")
async def send(request: Request, version: str, phone: str) -> Response:
    lab = desk(request)
    body = await request.body()
    try:
        known(request, lab, version, phone)
        try:
            asked = validated(body, lab)
        except (AttributeError, TypeError):
            raise Bad(100, "The body has not the members that it should.") from None
    except Bad as no:
        return problem(no)
    to = str(asked["to"])

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            return problem(Bad(int(code or 131026)))
        number = to.removeprefix("+")
        id_ = "wamid." + b64encode(b"HBg" + number.encode() + secrets.token_bytes(16)).decode()
        own = asked.get("biz_opaque_callback_data")
        lab.record.accept("whatsapp", Call(body, phone, short=True), [(0, id_, own, to)])
        said = {"id": id_, "message_status": "accepted"} if asked["type"] == "template" else {"id": id_}
        contacts = [{"input": to, "wa_id": number}]
        return json({"messaging_product": "whatsapp", "contacts": contacts, "messages": [said]})

    return await lab.take("whatsapp", [to], accept, refuse)


def validated(body: bytes, lab: Desk) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict) or asked.get("messaging_product") != "whatsapp":
        raise Bad(100, "The parameter messaging_product is required.")
    if not NUMBER.fullmatch(str(asked.get("to", ""))):
        raise Bad(100, "The parameter to is required.")
    if len(asked.get("biz_opaque_callback_data") or "") > LONGEST_CALLBACK_DATA:
        raise Bad(100, "Param biz_opaque_callback_data must be at most 512 characters long.")
    asked.setdefault("type", "text")
    match asked["type"]:
        case "template":
            valid_template(asked.get("template") or {}, lab)
        case "text":
            text = (asked.get("text") or {}).get("body")
            if not text or len(text) > LONGEST_TEXT:
                raise Bad(100, "The parameter text['body'] is required, and has at most 4096 characters.")
        case other:
            raise Bad(100, f"Param type must be one of {{TEMPLATE, TEXT}} - got {other!r}.")
    return asked


def valid_template(template: dict[str, Any], lab: Desk) -> None:
    name, language = template.get("name"), (template.get("language") or {}).get("code")
    expected = lab.templates.get((str(name), str(language)))
    if expected is None:
        raise Bad(132001, f"template name ({name}) does not exist in {language}")
    parts = [one for one in template.get("components") or [] if one.get("type", "").lower() == "body"]
    given = [parameter for one in parts for parameter in one.get("parameters") or []]
    if len(given) != expected:
        details = f"body: number of localizable_params ({len(given)}) does not match the expected number of "
        raise Bad(132000, f"{details}params ({expected})")
    if not all(one.get("type") == "text" and one.get("text") for one in given):
        raise Bad(131008, "Parameter of type text is missing text value")


def contents(one: Accepted) -> dict[str, Any]:
    """What was asked for."""
    shown = orjson.loads(one.call.body)
    assert isinstance(shown, dict)
    return shown
