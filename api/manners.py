"""The manners of every route of ours: what is shown has a tag, and what is asked twice is done once."""

from collections.abc import Callable, Coroutine
from functools import cached_property
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from api.etags import moving_of, tagging
from api.front import API
from api.once import is_shown_once, once


class Mannered(APIRoute):
    """For a router's `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        # What is shown once is shown otherwise ever after.
        tagged = handler if is_shown_once(self) else tagging(handler, moving_of(self.response_model))
        return once(tagged, self)


class Feature(APIRouter):
    """The routes of one module below `/api/v1/`. It lets go at once of what is for another.

    Fifty of them are asked one after the other, and each would try all of its patterns.
    """

    def __init__(self, **described: Any) -> None:
        super().__init__(route_class=Mannered, **described)

    @cached_property
    def _heads(self) -> frozenset[str]:
        """The first parts of its paths: "segments" of `/segments/{segment_id}`."""
        return frozenset(route.path.split("/")[1] for route in self.routes if isinstance(route, APIRoute))

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["path"][len(API) :].partition("/")[0] in self._heads:
            return super().matches(scope)
        return Match.NONE, {}
