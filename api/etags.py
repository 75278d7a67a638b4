"""ETag, If-Match and If-None-Match (RFC 9110): a thing's tag is a hash of how it is shown.

So whatever changes in what is shown changes the tag, and two who edit the same can't both win: who changes
a thing compares it, locked, with the one that they read. What moves by itself (`shapes.Out.moving`) is in the
second half of the tag, which is not compared then.
"""

import json
import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from domain.errors import Invalid, Stale

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

_TAGGED = {("GET", 200), ("PATCH", 200), ("POST", 201)}
_TAGS = re.compile(r'\s*(?:(?:W/)?"[^"]*"\s*(?:,\s*|$))+')
_TAG = re.compile(r'(W/)?("[^"]*")')


def tag_of(shown: bytes, moving: frozenset[str] = frozenset()) -> str:
    """The strong tag of what is shown, as JSON; `moving` are those of its fields that nobody edits."""
    if not moving:
        return f'"{_hashed(shown, 32)}"'
    fields = json.loads(shown)
    edited = {name: value for name, value in fields.items() if name not in moving}
    return f'"{_hashed(json.dumps(edited, sort_keys=True).encode(), 32)}-{_hashed(shown, 16)}"'


def _hashed(shown: bytes, length: int) -> str:
    return sha256(shown).hexdigest()[:length]


def tagging(handler: Handler, moving: frozenset[str] = frozenset()) -> Handler:
    """Give answers their tags, and spare whoever has the same already."""

    async def tagged(request: Request) -> Response:
        response = await handler(request)
        if (request.method, response.status_code) not in _TAGGED or response.media_type != "application/json":
            return response
        if isinstance(response, StreamingResponse):  # It is not known before it is sent.
            return response
        response.headers["ETag"] = tag = tag_of(bytes(response.body), moving)
        given = request.headers.get("if-none-match", "") if request.method == "GET" else ""
        if given.strip() == "*" or tag in (found[2] for found in _TAG.finditer(given)):
            return Response(status_code=304, headers={"ETag": tag})
        return response

    return tagged


class IfMatch:
    """What a change wants the thing to be beforehand."""

    def __init__(self, given: str | None) -> None:
        """Raises `Invalid` for what is no list of tags."""
        self.asked = given is not None and given.strip() != "*"  # The thing is there, or it is a 404.
        if self.asked and not _TAGS.fullmatch(given or ""):
            raise Invalid("Send the ETag as it was answered, with its quotation marks.", "#If-Match")
        # A weak one never matches here: it says that the things are much the same.
        self._tags = {_edited(found[2]) for found in _TAG.finditer(given or "") if not found[1]}

    def check(self, now: BaseModel) -> None:
        """Compare with the thing as it is shown now, its row locked. Raises `Stale`."""
        tag = tag_of(now.model_dump_json(by_alias=True).encode(), moving_of(type(now)))
        if self.asked and _edited(tag) not in self._tags:
            raise Stale("It was changed meanwhile: read it again.")


def _edited(tag: str) -> str:
    """The half of the tag that says what somebody edits."""
    return tag.strip('"').partition("-")[0]


def moving_of(model: Any) -> frozenset[str]:
    """The fields of an answer that change by themselves."""
    found: frozenset[str] = getattr(model, "moving", frozenset())
    return found


async def if_match(
    given: Annotated[
        str | None,
        Header(alias="If-Match", description="The `ETag` of what you read; 412 when it changed meanwhile."),
    ] = None,
) -> IfMatch:
    return IfMatch(given)


Unchanged = Annotated[IfMatch, Depends(if_match)]
