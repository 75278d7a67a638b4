"""Conditions on who somebody is: attributes, names, consent, lists, tags, a place in a flow, a share of all.

Those on what somebody did are in `domain.deeds`. A condition is true or false of every profile, never
unknown. It says what it `reads`, in the words of `domain.segments.reads`, and its `weight`: what it costs to
ask everybody, in the time that one attribute takes.
"""

from __future__ import annotations

import calendar
import hashlib
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, ClassVar, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationInfo, field_validator

from domain.comparisons import DENIES, Name, Node, Op, compared, fitting, storable
from domain.facts import Person
from domain.moments import Moment, When, instant, moment, moves
from domain.profiles import SuppressionReason
from domain.values import COMPARE, Value, as_day, as_time

CLOCK = "clock"
TIME_ZONE = "time zone"
FURTHEST = 365  # Days to an anniversary.


class Attribute(Node):
    """What the profile's attribute says: as `domain.comparisons.Comparison` has it, or read as a time.

    `before` and `on or after` take the attribute for a day or an instant (ISO 8601), and what has no offset
    for the time in the workspace's zone. `anniversary in` 3 is true three days before the day comes round,
    `anniversary within` 3 from then to the day itself, both in the person's time zone; who was born on 29
    February has their day on the 28th in other years.
    """

    kind: Literal["attribute"] = "attribute"
    name: Name
    op: Literal[Op, "before", "on or after", "anniversary in", "anniversary within"]
    value: Value = Field(default=None, validate_default=True)

    weight: ClassVar[int] = 1

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Value:
        match info.data.get("op"):
            case None:
                return None  # The op is wrong, and said to be.
            case "before" | "on or after":
                return moment(value)
            case "anniversary in" | "anniversary within" as op:
                earliest = -FURTHEST if op == "anniversary in" else 0
                if isinstance(value, bool) or not isinstance(value, int) or not earliest <= value <= FURTHEST:
                    raise ValueError(f'"{op}" wants a number of days between {earliest} and {FURTHEST}.')
                return value
            case op:
                return fitting(op, value)

    @property
    def asks(self) -> tuple[str, bool]:
        """The op without its denial, and whether it is denied."""
        return DENIES.get(self.op, self.op), self.op in DENIES

    def reads(self) -> Iterator[str]:
        yield f"attribute:{self.name}"
        if self.op.startswith("anniversary"):
            yield from (CLOCK, TIME_ZONE)
        elif self.op in ("before", "on or after") and moves(str(self.value)):
            yield CLOCK

    def holds(self, person: Person, when: When) -> bool:
        found = person.attributes.get(self.name)
        match self.op, self.value:
            case "before" | "on or after", str(text):
                at = as_time(found, when.zone)
                return at is not None and bool(COMPARE[self.op](at, instant(text, when)))
            case "anniversary in" | "anniversary within", int(days):
                born = as_day(found)
                today = when.now.astimezone(ZoneInfo(person.time_zone or when.time_zone)).date()
                return born is not None and comes_round(born, today, days, self.op)
        op, denied = self.asks
        return compared(op, found, self.value) != denied


def comes_round(born: date, today: date, days: int, op: str) -> bool:
    """Whether the anniversary of a day is in exactly so many days, or by then."""
    then = today + timedelta(days=days)
    if op == "anniversary in":
        return _anniversary(born, then.year) == then
    return any(today <= _anniversary(born, year) <= then for year in (today.year, today.year + 1))


def anniversaries(today: date, days: int, op: str) -> list[str]:
    """The months and days (MM-DD) that one may be born on for that, in whichever time zone."""
    first, last = (days, days) if op == "anniversary in" else (0, days)
    if last - first >= FURTHEST - 1:
        first, last = 0, FURTHEST
    dates = (today + timedelta(days=each) for each in range(first - 1, last + 2))
    found = {f"{each:%m-%d}" for each in dates}
    return sorted(found | {"02-29"} if "02-28" in found else found)


def _anniversary(born: date, year: int) -> date:
    if (born.month, born.day) == (2, 29) and not calendar.isleap(year):
        return date(year, 2, 28)
    return date(year, born.month, born.day)


class Identity(Node):
    """What one of the names of this kind says, that the person goes by; its denial: none of them does."""

    kind: Literal["identity"] = "identity"
    name: Literal["email", "phone", "user_id", "anonymous_id"]
    op: Op
    value: Value = Field(default=None, validate_default=True)

    weight: ClassVar[int] = 3

    @field_validator("value", mode="before")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Value:
        op = info.data.get("op")
        if op in ("includes", "does not include"):
            raise ValueError(f'A name is no list: write "is", "in" or "contains" in place of "{op}".')
        return None if op is None else fitting(op, value)

    @property
    def asks(self) -> tuple[str, bool]:
        return DENIES.get(self.op, self.op), self.op in DENIES

    def reads(self) -> Iterator[str]:
        yield "identities"

    def holds(self, person: Person, when: When) -> bool:
        op, denied = self.asks
        names = person.names.get(self.name, frozenset())
        return any(compared(op, name, self.value) for name in names) != denied


class Known(Node):
    """Since when we know the profile."""

    kind: Literal["known"] = "known"
    op: Literal["before", "on or after"]
    value: Moment

    weight: ClassVar[int] = 1

    def reads(self) -> Iterator[str]:
        if moves(self.value):
            yield CLOCK

    def holds(self, person: Person, when: When) -> bool:
        at = person.known_since
        return at is not None and bool(COMPARE[self.op](at, instant(self.value, when)))


class Consent(Node):
    """What the person allowed or denied on a channel; `unknown`: they never said."""

    kind: Literal["consent"] = "consent"
    purpose: Literal["email", "sms", "whatsapp", "push", "tracking"]
    state: Literal["granted", "denied", "unknown"] = "granted"

    weight: ClassVar[int] = 3

    def reads(self) -> Iterator[str]:
        yield "consents"

    def holds(self, person: Person, when: When) -> bool:
        return person.consents.get(self.purpose, "unknown") == self.state


class Topic(Node):
    """What the person chose for a topic; `unknown`: they never did."""

    kind: Literal["topic"] = "topic"
    topic_id: UUID
    state: Literal["granted", "denied", "unknown"] = "granted"

    weight: ClassVar[int] = 3

    def reads(self) -> Iterator[str]:
        yield "topics"

    def holds(self, person: Person, when: When) -> bool:
        return person.topics.get(self.topic_id, "unknown") == self.state


class Suppressed(Node):
    """Whether the address at which the person is reached on a channel must not be written to."""

    kind: Literal["suppressed"] = "suppressed"
    channel: Literal["email", "sms", "whatsapp"]
    reason: SuppressionReason | None = None  # None: whatever it is.

    weight: ClassVar[int] = 5

    def reads(self) -> Iterator[str]:
        yield from ("suppressions", "identities")

    def holds(self, person: Person, when: When) -> bool:
        reason = person.suppressed.get(self.channel)
        return reason is not None and self.reason in (None, reason)


class OnList(Node):
    """Whether the person is on a list now."""

    kind: Literal["list"] = "list"
    list_id: UUID

    weight: ClassVar[int] = 2

    def reads(self) -> Iterator[str]:
        yield f"list:{self.list_id}"

    def holds(self, person: Person, when: When) -> bool:
        return self.list_id in person.lists


class Tagged(Node):
    """Whether somebody put this tag on the profile."""

    kind: Literal["tag"] = "tag"
    tag: Name

    weight: ClassVar[int] = 2

    def reads(self) -> Iterator[str]:
        yield "tags"

    def holds(self, person: Person, when: When) -> bool:
        return self.tag in person.tags


class InSegment(Node):
    """Whether another segment picks the profile: `domain.segments.expand` writes that one's rule in."""

    kind: Literal["segment"] = "segment"
    segment_id: UUID

    weight: ClassVar[int] = 0

    def reads(self) -> Iterator[str]:
        raise LookupError("A rule is expanded before anybody is asked.")

    def holds(self, person: Person, when: When) -> bool:
        raise LookupError("A rule is expanded before anybody is asked.")


class InFlow(Node):
    """Whether the person is `in` a flow now (at this step), `finished` a journey, or `entered` it ever."""

    kind: Literal["flow"] = "flow"
    flow_id: UUID
    place: Literal["in", "finished", "entered"] = "in"
    step: Name | None = Field(default=None, validate_default=True)

    weight: ClassVar[int] = 5

    @field_validator("step")
    @classmethod
    def _is_now(cls, step: str | None, info: ValidationInfo) -> str | None:
        if step is not None and info.data.get("place") != "in":
            raise ValueError('Only who is "in" a flow is at a step of it: leave the step out.')
        return step

    def reads(self) -> Iterator[str]:
        yield f"flow:{self.flow_id}"

    def holds(self, person: Person, when: When) -> bool:
        return any(
            journey.flow_id == self.flow_id
            and (self.place == "entered" or journey.ended == (self.place == "finished"))
            and self.step in (None, journey.step)
            for journey in person.journeys
        )


class Share(Node):
    """A random share of everybody: the same people each time, and others for another salt."""

    kind: Literal["share"] = "share"
    percent: float = Field(ge=0, le=100)
    salt: str = Field(default="", max_length=100)

    weight: ClassVar[int] = 2

    @field_validator("percent")
    @classmethod
    def _is_plain(cls, percent: float) -> float:
        if round(percent, 2) != percent:
            raise ValueError("Give two decimals at most, such as 12.5.")
        return percent

    @field_validator("salt")
    @classmethod
    def _is_storable(cls, salt: str) -> str:
        return storable(salt)

    @property
    def below(self) -> int:
        """Who has a smaller number than this, of the 2^32 that there are, is in it."""
        return round(self.percent / 100 * 2**32)

    def reads(self) -> Iterator[str]:
        yield from ()

    def holds(self, person: Person, when: When) -> bool:
        digest = hashlib.md5(f"{self.salt}{person.id}".encode(), usedforsecurity=False).digest()
        return int.from_bytes(digest[:4]) < self.below
