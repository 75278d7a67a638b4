"""A push service (RFC 8030) with an endpoint for each browser, which it opens with that browser's keys."""

import re
import secrets
import time
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from fastapi import APIRouter, Request
from starlette.responses import Response

from lab.answers import json
from lab.desk import desk
from lab.record import Accepted, Call
from lab.subscriptions import CURVE, Subscription, unb64

router = APIRouter()

LARGEST_BODY = 4096  # Bytes.
LONGEST_TOKEN = 24 * 3600  # Seconds.
TOPIC = re.compile(r"[A-Za-z0-9_-]{1,32}")
URGENCY = {"very-low", "low", "normal", "high"}


class Bad(Exception):
    """A refusal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def problem(no: Bad) -> Response:
    return json({"code": no.status, "error": "Refused", "message": str(no)}, no.status)


def refuse(status: int, code: str | None) -> Response:
    answer = problem(Bad(status, code or "The lab was told to say so."))
    if status == 429:
        answer.headers["Retry-After"] = "1"
    return answer


@router.post("/push/{id_}")
async def push(request: Request, id_: str) -> Response:
    lab = desk(request)
    body = await request.body()
    endpoint = f"{lab.url}/push/{id_}"
    try:
        subscription = lab.subscriptions.get(id_)
        if subscription is None:
            raise Bad(404, "There is no such subscription.")
        if subscription.gone:
            raise Bad(410, "The subscription has ended.")
        who_may(request.headers.get("authorization", ""), subscription, lab.url)
        payload = opened(request, subscription, body)
    except Bad as no:
        return problem(no)

    def accept(refused: frozenset[int], code: str | None) -> Response:
        if refused:
            return refuse(int(code or 410), None)
        name = secrets.token_urlsafe(16)
        matter = ("ttl", "topic", "urgency")
        headers = {one: request.headers[one] for one in matter if one in request.headers}
        lab.record.accept("push", Call(payload, id_, headers), [(0, name, own(payload), endpoint)])
        kept = {"Location": f"{lab.url}/push/messages/{name}", "TTL": request.headers["ttl"]}
        return Response(status_code=201, headers=kept)

    return await lab.take("push", [endpoint], accept, refuse)


def own(payload: bytes) -> str | None:
    """The client's id, if the payload is a JSON object with a `message` or an `id` that is a text."""
    try:
        known = orjson.loads(payload)
    except ValueError:
        return None
    found = (known.get("message") or known.get("id")) if isinstance(known, dict) else None
    return found if isinstance(found, str) else None


def who_may(authorization: str, subscription: Subscription, origin: str) -> None:
    """VAPID, RFC 8292: `vapid t=<JWT>, k=<public key>`. Raises `Bad`."""
    scheme, _, rest = authorization.partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if scheme.lower() != "vapid" or not fields.get("t") or not fields.get("k"):
        raise Bad(401, "Authorization must be vapid, with t and k.")
    try:
        head, claims, signature = fields["t"].split(".")
        key = ec.EllipticCurvePublicKey.from_encoded_point(CURVE, unb64(fields["k"]))
        r, s = unb64(signature)[:32], unb64(signature)[32:]
        der = encode_dss_signature(int.from_bytes(r), int.from_bytes(s))
        key.verify(der, f"{head}.{claims}".encode(), ec.ECDSA(SHA256()))
        said = orjson.loads(unb64(claims))
        algorithm = orjson.loads(unb64(head))["alg"]
    except (ValueError, KeyError, InvalidSignature):
        raise Bad(403, "The token's signature is wrong.") from None
    if subscription.server_key not in (None, fields["k"].rstrip("=")):
        raise Bad(403, "The subscription was made for another server key.")
    if algorithm != "ES256" or said.get("aud") != origin:
        raise Bad(403, f"The token must be ES256 for {origin}.")
    if not time.time() < said.get("exp", 0) <= time.time() + LONGEST_TOKEN:
        raise Bad(403, "The token ends in the past, or in more than a day.")
    if not str(said.get("sub", "")).startswith(("mailto:", "https:")):
        raise Bad(403, "The token's sub must be a mailto: or https: address.")


def opened(request: Request, subscription: Subscription, body: bytes) -> bytes:
    given = request.headers
    if not given.get("ttl", "").isdigit():
        raise Bad(400, "TTL is required.")
    if "topic" in given and not TOPIC.fullmatch(given["topic"]):
        raise Bad(400, "Topic has up to 32 characters of base64url.")
    if given.get("urgency", "normal") not in URGENCY:
        raise Bad(400, "Urgency is one of very-low, low, normal and high.")
    if len(body) > LARGEST_BODY:
        raise Bad(413, f"More than {LARGEST_BODY} bytes.")
    if not body:
        return b""
    if given.get("content-encoding") != "aes128gcm":
        raise Bad(400, "Content-Encoding must be aes128gcm.")
    try:
        return subscription.opened(body)
    except (ValueError, IndexError, InvalidTag):
        raise Bad(400, "It is not encrypted for this subscription.") from None


def contents(one: Accepted) -> dict[str, Any]:
    """What the browser gets: {"payload", "ttl", "topic", "urgency"}."""
    return {"payload": one.call.body.decode("utf-8", "replace"), **one.call.headers}
