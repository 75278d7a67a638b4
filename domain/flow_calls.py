"""What a step of a flow says when it calls, and to whom it can be said at once. Pure.

A body is bounded, so a group is as large as its members' data lets it be. Of a member who has very much to
say the long parts are left out, and the body tells so.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from domain.announcements import LARGEST, Announcement, AnnouncementType, written
from domain.flows import Call

MOST = 500  # Members of a call.
LARGEST_MEMBER = 64 * 1024  # Bytes of what is said of one.
_TOKEN = re.compile(r"(/callbacks/)[A-Za-z0-9_.~-]+")


@dataclass(frozen=True)
class Member:
    """Somebody who is to be called about."""

    id: UUID  # Of the journey: by this they are named in the callback.
    profile_id: UUID
    user_id: str | None
    email: str | None
    phone: str | None
    properties: Mapping[str, Any]  # Of the event that let them in.
    attributes: Mapping[str, Any]  # Those that the step names.

    def said(self) -> dict[str, Any]:
        """What the body says of them, within `LARGEST_MEMBER`."""
        whole = {
            "member": str(self.id),
            "profile_id": str(self.profile_id),
            "user_id": self.user_id,
            "email": self.email,
            "phone": self.phone,
            "properties": dict(self.properties),
            "attributes": dict(self.attributes),
            "truncated": False,
        }
        parts = "attributes", "properties"
        for part in parts:
            if _is_too_deep(whole[part]):
                whole |= {part: {}, "truncated": True}
        for part in parts:
            if _size(whole) > LARGEST_MEMBER:
                whole |= {part: {}, "truncated": True}
        return whole


@dataclass(frozen=True)
class Place:
    """The step that calls, as the body names it."""

    flow_id: UUID
    flow: str
    step: str
    call: Call

    def deadline(self, now: datetime) -> datetime | None:
        """Until when somebody who is called about now waits for an answer; None: they do not wait."""
        return now + self.call.callback.within if self.call.callback else None

    def body(
        self, call_id: UUID, callback_url: str, members: Sequence[Mapping[str, Any]], now: datetime
    ) -> str:
        """What is posted. `members` is what `Member.said` says of each of a group."""
        deadline = self.deadline(now)
        data = {
            "call_id": call_id,
            "flow_id": self.flow_id,
            "flow": self.flow,
            "step": self.step,
            "data": self.call.data,
            "callback_url": callback_url if deadline else None,
            "deadline": written(deadline) if deadline else None,
            "members": list(members),
        }
        return Announcement(AnnouncementType.FLOW_CALL, data).body(now)

    def room(self, callback_url: str, now: datetime) -> int:
        """Bytes that a body has for its members."""
        return LARGEST - len(self.body(UUID(int=0), callback_url, [], now).encode())


def without_token(body: str) -> str:
    """A call's body for those who may read what is told, but not answer for who was asked."""
    return _TOKEN.sub(r"\1[token]", body)


def groups(
    said: Iterable[Mapping[str, Any]], room: int, most: int = MOST
) -> Iterator[list[Mapping[str, Any]]]:
    """The members in their order, in groups of at most `most` whose JSON takes at most `room` bytes.

    Whoever takes more than that alone is a group alone.
    """
    group: list[Mapping[str, Any]] = []
    taken = 0
    for each in said:
        size = _size(each) + 1  # The comma.
        if group and (len(group) == most or taken + size > room):
            yield group
            group, taken = [], 0
        group.append(each)
        taken += size
    if group:
        yield group


def _is_too_deep(part: Any) -> bool:
    """Whether it can't be written within a body, which has levels of its own."""
    try:
        orjson.dumps([[[[part]]]])
    except TypeError:
        return True
    return False


def _size(said: Any) -> int:
    return len(orjson.dumps(said))
