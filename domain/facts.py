"""What is known of one profile, as far as a rule may ask about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Purchase:
    """An order that was not cancelled."""

    at: datetime
    total: Decimal  # What was refunded is taken off.
    currency: str
    products: frozenset[str] = frozenset()  # The `sku` of each of its lines.


@dataclass(frozen=True, slots=True)
class Did:
    """An event."""

    name: str
    at: datetime  # When it occurred.
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sent:
    """A message of the ledger that is closed."""

    source_id: UUID  # The campaign or the flow.
    channel: str
    at: datetime  # When it was closed.
    received: bool = True  # The provider took it.
    bounced: bool = False
    opened_at: datetime | None = None
    clicked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Journey:
    """A place in a flow."""

    flow_id: UUID
    step: str
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Person:
    """A profile, and whatever was merged into it."""

    id: UUID = NOBODY
    known_since: datetime | None = None
    time_zone: str | None = None  # IANA; None: the workspace's.
    attributes: Mapping[str, Any] = field(default_factory=dict)  # As JSON.
    names: Mapping[str, frozenset[str]] = field(default_factory=dict)  # By domain.profiles.IdentityKind.
    purchases: tuple[Purchase, ...] = ()
    events: tuple[Did, ...] = ()
    messages: tuple[Sent, ...] = ()
    consents: Mapping[str, str] = field(default_factory=dict)  # By purpose: granted or denied.
    topics: Mapping[UUID, str] = field(default_factory=dict)
    suppressed: Mapping[str, str] = field(default_factory=dict)  # Channel → why its primary address is.
    lists: frozenset[UUID] = frozenset()
    tags: frozenset[str] = frozenset()
    journeys: tuple[Journey, ...] = ()
    # What was done with the messages of the journey that is asked about, by step: words of Message.did.
    replies: Mapping[str, frozenset[str]] = field(default_factory=dict)
