"""Events: what can happen to a profile, and the names that we give to what we see ourselves."""

from enum import StrEnum

ORDER_PLACED = "order placed"
SEGMENT_ENTERED = "segment entered"
SEGMENT_LEFT = "segment left"
PAGE_VIEWED = "page viewed"
SCREEN_VIEWED = "screen viewed"
GROUP_JOINED = "group joined"
MESSAGE_REPLIED = "message replied"

# Nobody else may say that these happened: they follow from what we know.
OURS = frozenset({ORDER_PLACED, SEGMENT_ENTERED, SEGMENT_LEFT, MESSAGE_REPLIED})


class EventKind(StrEnum):
    """What an arrival says, and how the pump works it in."""

    TRACK = "track"
    PAGE = "page"
    SCREEN = "screen"
    GROUP = "group"
    IDENTIFY = "identify"
    ALIAS = "alias"
    ORDER = "order"
    ORDER_CHANGE = "order change"
    CHANGE = "change"  # Of a profile, by the API or a file: written already, and still to be followed up.
    SYSTEM = "system"  # Of `OURS`.


class RefusalStage(StrEnum):
    REQUEST = "request"  # The sender was told, and nothing was kept.
    NAME = "name"  # The event was kept, and a name of the person that it gave was not taken.
    FIELD = "field"  # The event was kept, and an attribute or a consent that it gave was not.
