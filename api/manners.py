"""The manners of every route of ours: what is shown has a tag, and what is asked twice is done once."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.etags import tagging
from api.once import once


class Mannered(APIRoute):
    """For a router's `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return once(tagging(super().get_route_handler()), self)
