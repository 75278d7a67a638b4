"""Amazon SES, API v2: SendBulkEmail, SendEmail, GetAccount, as its service model and its guide describe them.

An inline template only substitutes, and a variable that is missing is found out after acceptance.
"""

import re
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.policy import default
from functools import lru_cache
from typing import Any
from uuid import uuid4

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.aws_signature import Unsigned, check
from lab.desk import Desk, desk
from lab.record import Accepted, Call

router = APIRouter()

MOST_DESTINATIONS = 50
LARGEST_BULK = 1 << 20  # Bytes of the whole input, with an inline template.
LARGEST_MAIL = 40 << 20  # Bytes.
LONGEST_DATA = 262_144  # Characters of TemplateData.
MOST_HEADERS = 15

TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
HEADER_NAME = re.compile(r"[!-9;-~]{1,126}")
HEADER_VALUE = re.compile(r"[ -~]{1,995}")
ADDRESS = re.compile(r"[!-?A-~]{1,64}@[A-Za-z0-9.-]{1,255}")
VARIABLE = re.compile(r"\{\{\{?([^{}]*)\}\}\}?")
RESERVED = {
    "bcc", "cc", "content-disposition", "content-type", "content-transfer-encoding", "date", "from",
    "message-id", "mime-version", "reply-to", "return-path", "sender", "subject", "to", "dkim-signature",
    "received",
}  # fmt: skip

STATUS_OF = {
    "TooManyRequestsException": 429, "NotFoundException": 404, "InternalFailure": 500,
    "ServiceUnavailable": 503, "AccessDeniedException": 403,
}  # fmt: skip
NAME_OF = {
    400: "BadRequestException", 403: "AccessDeniedException", 404: "NotFoundException",
    429: "TooManyRequestsException", 503: "ServiceUnavailable",
}  # fmt: skip


class Bad(Exception):
    """A request that is refused as a whole; with the exception's name at SES."""

    def __init__(self, message: str, name: str = "BadRequestException") -> None:
        super().__init__(message)
        self.name = name


class RenderingFailure(Exception):
    """A template whose variable is missing."""


def error(status: int, name: str, message: str) -> Response:
    return json({"message": message}, status, {"x-amzn-ErrorType": name, "x-amzn-RequestId": str(uuid4())})


def refuse(status: int, code: str | None) -> Response:
    return error(status, code or NAME_OF.get(status, "InternalFailure"), "The lab was told to say so.")


async def signed(request: Request, lab: Desk) -> bytes:
    body = await request.body()
    raw = request.scope["raw_path"].decode("latin-1")
    check(request.method, raw, request.url.query, request.headers, body, lab.accounts.ses)
    return body


@router.get("/v2/email/account")
async def account(request: Request) -> Response:
    lab = desk(request)
    try:
        await signed(request, lab)
    except Unsigned as no:
        return error(403, no.name, str(no))
    sent = float(lab.record.accepted["ses"])
    answer = {
        "DedicatedIpAutoWarmupEnabled": False,
        "EnforcementStatus": "HEALTHY",
        "ProductionAccessEnabled": True,
        "SendQuota": {"Max24HourSend": 1_000_000.0, "MaxSendRate": 20_000.0, "SentLast24Hours": sent},
        "SendingEnabled": True,
        "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
    }
    return await lab.look("ses", json(answer), refuse)


@router.post("/v2/email/outbound-bulk-emails")
async def send_bulk_email(request: Request) -> Response:
    lab = desk(request)
    try:
        body = await signed(request, lab)
        asked = read(body, LARGEST_BULK)
        with shaped():
            valid_bulk(asked, every_entry=not lab.record.fast)
    except Unsigned as no:
        return error(403, no.name, str(no))
    except Bad as no:
        return error(STATUS_OF.get(no.name, 400), no.name, str(no))
    entries = asked["BulkEmailEntries"]
    shared = asked.get("DefaultEmailTags") or []
    people = [every(entry["Destination"]) for entry in entries]
    to = [bare(one[0]) for one in people]
    call, series = Call(body, "bulk"), message_id()[:-19]

    def accept(refused: frozenset[int], code: str | None) -> Response:
        results: list[dict[str, str]] = []
        taken = []
        for at, entry in enumerate(entries):
            if at in refused:
                results.append({"Status": code or "FAILED", "Error": "The lab was told to say so."})
            elif not all(ADDRESS.fullmatch(bare(one)) for one in people[at]):
                results.append({"Status": "INVALID_PARAMETER", "Error": f"Illegal address: {to[at]}"})
            else:
                id_ = f"{series}{at:012x}-000000"
                results.append({"Status": "SUCCESS", "MessageId": id_})
                taken.append((at, id_, tag("mid", shared, entry.get("ReplacementTags") or []), to[at]))
        lab.record.accept("ses", call, taken)
        return json({"BulkEmailEntryResults": results})

    return await lab.take("ses", to, accept, refuse)


@router.post("/v2/email/outbound-emails")
async def send_email(request: Request) -> Response:
    lab = desk(request)
    try:
        body = await signed(request, lab)
        asked = read(body, LARGEST_MAIL)
        with shaped():
            valid_single(asked)
    except Unsigned as no:
        return error(403, no.name, str(no))
    except Bad as no:
        return error(STATUS_OF.get(no.name, 400), no.name, str(no))
    to = addressee(destination(asked))

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            name = code or "MessageRejected"
            return error(STATUS_OF.get(name, 400), name, "The lab was told to say so.")
        id_ = message_id()
        taken = (0, id_, tag("mid", asked.get("EmailTags") or []), to)
        lab.record.accept("ses", Call(body, "single"), [taken])
        return json({"MessageId": id_})

    return await lab.take("ses", [to], accept, refuse)


def read(body: bytes, largest: int) -> dict[str, Any]:
    if len(body) > largest:
        raise Bad(f"The request is larger than {largest} bytes.")
    try:
        asked = orjson.loads(body)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Bad("The body is not a JSON object.", "SerializationException")
    return asked


@contextmanager
def shaped() -> Iterator[None]:
    """What stands where something else should is the client's fault, not ours."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise Bad("The body has not the members that it should.", "SerializationException") from None


def valid_bulk(asked: dict[str, Any], every_entry: bool) -> None:
    """Raises `Bad`. A lab that must be fast looks at the first entry alone."""
    entries = asked.get("BulkEmailEntries")
    template = (asked.get("DefaultContent") or {}).get("Template")
    if not entries or not template:
        raise Bad("DefaultContent.Template and BulkEmailEntries are required.")
    if not asked.get("FromEmailAddress"):
        raise Bad("FromEmailAddress is required, as the template has none.")
    destinations = [entry.get("Destination") or {} for entry in entries]
    if sum(len(every(one)) for one in destinations) > MOST_DESTINATIONS:
        raise Bad(f"There are more than {MOST_DESTINATIONS} destinations.")
    if not all(every(one) for one in destinations):
        raise Bad("Each entry needs a destination.")
    valid_template(template)
    valid_headers(template.get("Headers") or [])
    valid_tags(asked.get("DefaultEmailTags") or [])
    for entry in entries if every_entry else entries[:1]:
        valid_tags(entry.get("ReplacementTags") or [])
        valid_headers(entry.get("ReplacementHeaders") or [])
        valid_data(replacement(entry))


def valid_single(asked: dict[str, Any]) -> None:
    content = asked.get("Content") or {}
    kinds = [kind for kind in ("Simple", "Raw", "Template") if content.get(kind)]
    if len(kinds) != 1:
        raise Bad("Content is one of Simple, Raw and Template.")
    valid_tags(asked.get("EmailTags") or [])
    if kinds == ["Raw"]:
        try:
            b64decode(content["Raw"]["Data"], validate=True)
        except (KeyError, NotBase64):
            raise Bad("Content.Raw.Data is not base64.") from None
    elif not asked.get("FromEmailAddress"):
        raise Bad("FromEmailAddress is required.")
    if kinds == ["Simple"]:
        simple = content["Simple"]
        if not (simple.get("Subject") or {}).get("Data") or not simple.get("Body"):
            raise Bad("A simple mail has a subject and a body.")
        valid_headers(simple.get("Headers") or [])
    if kinds == ["Template"]:
        valid_template(content["Template"])
        valid_headers(content["Template"].get("Headers") or [])
    to = every(destination(asked))
    if not to or len(to) > MOST_DESTINATIONS:
        raise Bad(f"A mail has between one and {MOST_DESTINATIONS} destinations.")
    for one in to:
        if not ADDRESS.fullmatch(bare(one)):
            raise Bad(f"Illegal address: {one}")


def valid_template(template: dict[str, Any]) -> None:
    if not template.get("TemplateContent"):
        name = template.get("TemplateName") or template.get("TemplateArn")
        raise Bad(f"Template {name} does not exist.", "NotFoundException")
    valid_data(template.get("TemplateData"))


def valid_data(data: str | None) -> None:
    if not data:
        return
    if len(data) > LONGEST_DATA:
        raise Bad(f"Template data is longer than {LONGEST_DATA} characters.")
    try:
        known = isinstance(orjson.loads(data), dict)
    except ValueError:
        known = False
    if not known:
        raise Bad("Template data is not a JSON object.")


def valid_tags(tags: list[dict[str, str]]) -> None:
    for one in tags:
        if not TAG.fullmatch(one.get("Name") or "") or not TAG.fullmatch(one.get("Value") or ""):
            raise Bad("Tags are up to 256 ASCII letters, digits, underscores and hyphens.")


def valid_headers(headers: list[dict[str, str]]) -> None:
    if len(headers) > MOST_HEADERS:
        raise Bad(f"There are more than {MOST_HEADERS} headers.")
    for one in headers:
        name, value = one.get("Name") or "", one.get("Value") or ""
        if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
            raise Bad(f"The header {name} is not 1 to 995 printable ASCII characters.")
        if name.lower() in RESERVED:
            raise Bad(f"The header {name} is reserved.")


def every(destination: dict[str, Any]) -> list[str]:
    found: list[str] = destination.get("ToAddresses") or []
    for kind in ("CcAddresses", "BccAddresses"):
        if more := destination.get(kind):
            found = found + more
    return found


def addressee(destination: dict[str, Any]) -> str:
    return bare(next(iter(every(destination)), ""))


def bare(address: str) -> str:
    """Without a name before it."""
    return address.rpartition("<")[2].rstrip(">") if "<" in address else address


def destination(asked: dict[str, Any]) -> dict[str, Any]:
    """Of a single mail: a raw one may name its recipients in its headers alone."""
    given = asked.get("Destination") or {}
    raw = (asked.get("Content") or {}).get("Raw")
    if every(given) or not raw:
        return given
    head = message_from_bytes(b64decode(raw["Data"]), policy=default)
    return {"ToAddresses": [one.addr_spec for one in head["To"].addresses] if head["To"] else []}


def replacement(entry: dict[str, Any]) -> str | None:
    content = entry.get("ReplacementEmailContent") or {}
    data = (content.get("ReplacementTemplate") or {}).get("ReplacementTemplateData")
    return data if isinstance(data, str) else None


def tag(name: str, *lists: list[dict[str, str]]) -> str | None:
    found = None
    for tags in lists:
        for one in tags:
            if one.get("Name") == name:
                found = one.get("Value")
    return found


def message_id() -> str:
    """Such as 0102018b2c3d4e5f-…-000000, as the region eu-west-1 gives them."""
    one = uuid4().hex
    return f"01020{one[:11]}-{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}-000000"


@lru_cache(maxsize=64)
def parsed(body: bytes) -> Any:
    return orjson.loads(body)


def contents(one: Accepted) -> dict[str, Any]:
    """What the recipient gets: {"from", "subject", "html", "text", "headers", "tags", "raw"}. Raises
    `RenderingFailure`."""
    asked = parsed(one.call.body)
    shown: dict[str, Any] = {
        "from": asked.get("FromEmailAddress"), "to": one.recipient,
        "reply_to": asked.get("ReplyToAddresses") or [],
        "configuration_set": asked.get("ConfigurationSetName"),
    }  # fmt: skip
    if one.call.path == "bulk":
        template = asked["DefaultContent"]["Template"]
        entry = asked["BulkEmailEntries"][one.index]
        values = orjson.loads(template.get("TemplateData") or "{}") | orjson.loads(replacement(entry) or "{}")
        headers = merged(template.get("Headers") or [], entry.get("ReplacementHeaders") or [])
        tags = merged(asked.get("DefaultEmailTags") or [], entry.get("ReplacementTags") or [])
        return shown | rendered(template["TemplateContent"], values) | {"headers": headers, "tags": tags}
    content = asked["Content"]
    shown["tags"] = merged(asked.get("EmailTags") or [])
    if raw := content.get("Raw"):
        return shown | {"raw": b64decode(raw["Data"]).decode("utf-8", "replace")}
    if template := content.get("Template"):
        values = orjson.loads(template.get("TemplateData") or "{}")
        headers = merged(template.get("Headers") or [])
        return shown | rendered(template["TemplateContent"], values) | {"headers": headers}
    simple = content["Simple"]
    return shown | {
        "subject": simple["Subject"]["Data"],
        "html": (simple["Body"].get("Html") or {}).get("Data"),
        "text": (simple["Body"].get("Text") or {}).get("Data"),
        "headers": merged(simple.get("Headers") or []),
        "attachments": [file.get("FileName") for file in simple.get("Attachments") or []],
    }


def tags_of(one: Accepted) -> dict[str, str]:
    asked = parsed(one.call.body) if one.call.body else {}
    if one.call.path != "bulk":
        return merged(asked.get("EmailTags") or [])
    entry = asked["BulkEmailEntries"][one.index]
    return merged(asked.get("DefaultEmailTags") or [], entry.get("ReplacementTags") or [])


def rendered(content: dict[str, str], values: dict[str, Any]) -> dict[str, Any]:
    def value(found: re.Match[str]) -> str:
        name = found[1].strip()
        if name not in values:
            raise RenderingFailure(f"Attribute '{name}' is not present in the rendering data.")
        return str(values[name])

    filled = {
        part: VARIABLE.sub(value, content[part]) for part in ("Subject", "Html", "Text") if content.get(part)
    }
    return {"subject": filled.get("Subject"), "html": filled.get("Html"), "text": filled.get("Text")}


def merged(*lists: list[dict[str, str]]) -> dict[str, str]:
    return {one["Name"]: one["Value"] for pairs in lists for one in pairs}
