"""ETag, If-Match and If-None-Match (RFC 9110): a thing's tag is a hash of how it is shown.

So whatever changes in what is shown changes the tag, and two who edit the same can't both win: who changes
a thing compares it, locked, with the one that they read.
"""

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


def tag_of(shown: bytes) -> str:
    """The strong tag of what is shown, as JSON."""
    return f'"{sha256(shown).hexdigest()[:32]}"'


def tagging(handler: Handler) -> Handler:
    """Give answers their tags, and spare whoever has the same already."""

    async def tagged(request: Request) -> Response:
        response = await handler(request)
        if (request.method, response.status_code) not in _TAGGED or response.media_type != "application/json":
            return response
        if isinstance(response, StreamingResponse):  # It is not known before it is sent.
            return response
        response.headers["ETag"] = tag = tag_of(bytes(response.body))
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
        self._tags = {found[2] for found in _TAG.finditer(given or "") if not found[1]}

    def check(self, now: BaseModel) -> None:
        """Compare with the thing as it is shown now, its row locked. Raises `Stale`."""
        if self.asked and tag_of(now.model_dump_json(by_alias=True).encode()) not in self._tags:
            raise Stale("It was changed meanwhile: read it again.")


async def if_match(
    given: Annotated[
        str | None,
        Header(alias="If-Match", description="The `ETag` of what you read; 412 when it changed meanwhile."),
    ] = None,
) -> IfMatch:
    return IfMatch(given)


Unchanged = Annotated[IfMatch, Depends(if_match)]
