"""The manners of every route of ours: what is shown has a tag, and what is asked twice is done once."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from api.etags import moving_of, tagging
from api.once import is_shown_once, once


class Mannered(APIRoute):
    """For a router's `route_class`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        # What is shown once is shown otherwise ever after.
        tagged = handler if is_shown_once(self) else tagging(handler, moving_of(self.response_model))
        return once(tagged, self)
