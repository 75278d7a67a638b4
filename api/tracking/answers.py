"""What the tracking paths answer with, and how they read what was sent."""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.types import Receive

from api.tracking import pages

LARGEST_BODY = 65_536  # Bytes of a POST that are looked at.

Headers = tuple[tuple[bytes, bytes], ...]
_CAREFUL: Headers = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),  # The token is in our address.
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
)


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes


def answer(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    return Answer(status, (*_CAREFUL, (b"content-length", str(len(body)).encode()), *headers), body)


def page(status: int, body: bytes, *headers: tuple[bytes, bytes]) -> Answer:
    html = (b"content-type", b"text/html; charset=utf-8")
    return answer(status, body, html, (b"content-security-policy", pages.POLICY.encode()), *headers)


UNKNOWN = page(404, pages.unknown())
TRY_AGAIN = page(503, pages.unavailable(), (b"retry-after", b"30"))


async def read_body(receive: Receive) -> bytes:
    """The first `LARGEST_BODY` bytes of what was posted. Who hangs up in the middle has said enough."""
    body = bytearray()
    while len(body) < LARGEST_BODY:
        message = await receive()
        body += message.get("body", b"")[: LARGEST_BODY - len(body)]
        if not message.get("more_body", False):
            break
    return bytes(body)


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return b""
