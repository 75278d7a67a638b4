"""Answers of the tracking API, as they go on the wire."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import orjson

from domain.calls import Fault

Header: TypeAlias = tuple[bytes, bytes]

_SAFE: tuple[Header, ...] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_PREFLIGHT: tuple[Header, ...] = (
    (b"access-control-allow-methods", b"GET, POST"),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, content-encoding, x-retry-count, x-request-id",
    ),
    (b"access-control-max-age", b"7200"),
    (b"vary", b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"),
    (b"content-length", b"0"),
)


class Answer(NamedTuple):
    status: int
    headers: tuple[Header, ...]
    body: bytes


def readable_by(answer: Answer, origin: bytes) -> Answer:
    """The same answer, for a page of this origin to read: refusals too, or it would try again for ever.

    Nothing in any answer is a secret, and none depends on cookies.
    """
    readable = (
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"Retry-After, X-Request-Id"),
        (b"vary", b"Origin"),
    )
    return answer._replace(headers=(*answer.headers, *readable))


def preflight(origin: bytes) -> Answer:
    """What a browser is told that asks beforehand. Whether the page may is decided when it shows its key."""
    return Answer(204, (*_PREFLIGHT, (b"access-control-allow-origin", origin)), b"")


def json(status: int, value: Any, *headers: Header, kind: bytes = b"application/json") -> Answer:
    body = orjson.dumps(value)
    length = str(len(body)).encode()
    return Answer(status, (*_SAFE, (b"content-type", kind), (b"content-length", length), *headers), body)


def kept(accepted: int, refused: Sequence[tuple[int, Fault]], status: int) -> Answer:
    """Some were kept, and these were not."""
    if accepted == 1 and not refused:
        return ONE_KEPT if status == 202 else ONE_KEPT_AS_SEGMENT
    value: dict[str, Any] = {"accepted": accepted, "refused": _listed(refused)}
    return json(status, value if status == 202 else {"success": True, **value})


ONE_KEPT = json(202, {"accepted": 1, "refused": []})
ONE_KEPT_AS_SEGMENT = json(200, {"success": True, "accepted": 1, "refused": []})


def _listed(refused: Sequence[tuple[int, Fault]]) -> list[dict[str, Any]]:
    return [{"index": n, "pointer": fault.pointer, "detail": fault.detail} for n, fault in refused]


_TITLES = {
    400: ("malformed", "The body can't be read"),
    401: ("unauthorized", "Who are you?"),
    403: ("forbidden", "Not yours to do"),
    404: ("not-found", "There is no such thing"),
    405: ("method-not-allowed", "Wrong method"),
    408: ("too-slow", "It took too long"),
    410: ("gone", "It is no more"),
    413: ("too-large", "Too large"),
    415: ("unknown-encoding", "Packed in an unknown way"),
    422: ("invalid", "The request breaks a rule"),
    429: ("too-many-requests", "Too many requests"),
    503: ("unavailable", "Something is away"),
}


def problem(
    status: int, detail: str, *headers: Header, refused: Sequence[tuple[int, Fault]] = (), where: str = "body"
) -> Answer:
    """A problem of RFC 9457, as the API answers it, with the events that were refused; see `named`."""
    kind, title = _TITLES[status]
    value: dict[str, Any] = {
        "type": f"urn:campanile:problem:{kind}",
        "title": title,
        "status": status,
        "detail": detail,
        "errors": [{"pointer": fault.pointer, "in": where, "detail": fault.detail} for _, fault in refused],
        "request_id": None,
    }
    if refused:
        value |= {"accepted": 0, "refused": _listed(refused)}
    return json(status, value, *headers, kind=b"application/problem+json")


def named(answer: Answer, request_id: str) -> Answer:
    """The same problem, with what to quote when one asks about it."""
    body = orjson.dumps({**orjson.loads(answer.body), "request_id": request_id})
    headers = tuple(each for each in answer.headers if each[0] != b"content-length")
    length = (b"content-length", str(len(body)).encode())
    return Answer(answer.status, (*headers, length, (b"x-request-id", request_id.encode())), body)


def all_refused(refused: Sequence[tuple[int, Fault]], status: int = 422) -> Answer:
    """Nothing was kept. The sentence names the first field at fault."""
    fault = refused[0][1]
    where = fault.pointer.strip("/").replace("/", ".")
    detail = f"{where}: {fault.detail}" if where else fault.detail
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return problem(status, f"{detail}{more}", refused=refused)


def detail_of(answer: Answer) -> str:
    """What a problem says."""
    return str(orjson.loads(answer.body)["detail"])


def wrong_method(*allowed: str) -> Answer:
    named = ", ".join(allowed)
    return problem(405, f"This address answers {named} only.", (b"allow", named.encode()))


AWAY = problem(503, "The events can't be stored now: send them again soon.", (b"retry-after", b"2"))
FULL = problem(503, "Too many events are waiting to be stored: send them again soon.", (b"retry-after", b"1"))
# Neither was read to its end, so that nothing else can come by the same connection.
_CLOSED: Header = (b"connection", b"close")
TOO_SLOW = problem(408, "The end of the body did not come in time: send it again.", _CLOSED)
CROWDED = problem(503, "Too many bodies are half sent: send it again soon.", (b"retry-after", b"5"), _CLOSED)
NO_KEY = problem(
    401,
    "Send a key: Authorization: Bearer pk_…, or as the user of Basic, or as key or writeKey in the body.",
    (b"www-authenticate", b"Bearer"),
)
UNKNOWN_KEY = problem(
    401, "This key is unknown, revoked, or past its end; make a new one.", (b"www-authenticate", b"Bearer")
)
NOWHERE = problem(404, "There is nothing at this address; docs/tracking.md lists what there is.")
NOT_PERMITTED = problem(403, "It takes the permission events:write, which this key does not have.")
OTHER_ORIGIN = problem(
    403, "Pages of this origin may not use the key: add it to `origins` by PATCH /api/v1/workspace."
)
NO_HISTORY = problem(403, "Only a secret key can import history: send it from a server.")
UNKNOWN_ENCODING = problem(415, "Send the body as it is, or with Content-Encoding: gzip.")


def too_large(most: str) -> Answer:
    return problem(413, f"Send at most {most} in one request.")


def too_fast(limit: int, seconds: int) -> Answer:
    detail = f"That was more than {limit:,} events in a minute: wait for {seconds} seconds."
    return problem(429, detail, (b"retry-after", str(seconds).encode()))
