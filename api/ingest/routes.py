"""The addresses of the tracking API: ours, and those of Segment's HTTP API with its short forms."""

from collections.abc import Mapping
from typing import NamedTuple

from api.ingest.reading import LARGEST_BATCH, LARGEST_CALL
from domain.events import EventKind


class Route(NamedTuple):
    """What an address takes."""

    kind: EventKind | None  # None for a batch.
    status: int = 202  # When all is well. Some of Segment's libraries insist on 200.
    historical: bool = False

    @property
    def most(self) -> int:
        """Bytes of a body."""
        return LARGEST_BATCH if self.kind is None else LARGEST_CALL


_SEGMENT = {
    "track": EventKind.TRACK,
    "identify": EventKind.IDENTIFY,
    "page": EventKind.PAGE,
    "screen": EventKind.SCREEN,
    "group": EventKind.GROUP,
    "alias": EventKind.ALIAS,
    "batch": None,
}
ROUTES: Mapping[str, Route] = {
    **{f"/{kind}": Route(kind) for kind in _SEGMENT.values() if kind not in (None, EventKind.SCREEN)},
    "/track/batch": Route(None),
    **{f"/v1/{name}": Route(kind, 200) for name, kind in _SEGMENT.items()},
    **{f"/v1/{name[0]}": Route(kind, 200) for name, kind in _SEGMENT.items()},
    "/v1/import": Route(None, 200, historical=True),
}
PROJECTS, SETTINGS = "/v1/projects/", "/settings"


def serves(path: str) -> bool:
    """Whether the tracking API has this address, or what is below Segment's."""
    return path in ROUTES or path.startswith("/v1/")
