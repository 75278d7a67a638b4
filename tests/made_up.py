"""Made-up people for the rules of `tests.rules`, with values so close together that rules hit and miss."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeVar

from hypothesis import strategies as some

from domain.facts import Did, Journey, Person, Purchase, Sent
from tests.rules import (
    BIRTHDAYS,
    CAMPAIGNS,
    CHANNELS,
    CURRENCIES,
    EVENTS,
    FLOWS,
    HOURS,
    KINDS,
    LISTS,
    MONEY,
    NAMES,
    NOON,
    NUMBERS,
    NUMBERS_NEAR,
    PRODUCTS,
    PURPOSES,
    REASONS,
    STEPS,
    TAGS,
    TEXTS,
    TOPICS,
    ZONES,
)

Made = TypeVar("Made")
_SHORT = ("a", "A", "ab", "b", "é", "1", "1.50", "true")
_SAID = ("granted", "denied")


def reachable(person: Person) -> Person:
    """Only who has an address can have one that is suppressed."""
    kinds = {"email": "email", "sms": "phone", "whatsapp": "phone"}
    there = {channel: why for channel, why in person.suppressed.items() if person.names.get(kinds[channel])}
    return replace(person, suppressed=there)


def _person(dice: Random) -> Person:
    return reachable(
        Person(
            known_since=_instant(dice),
            time_zone=dice.choice((None, dice.choice(ZONES))),
            attributes={name: _held(dice, name) for name in _of(dice, NAMES)},
            names={kind: frozenset(dice.sample(_SHORT, dice.randint(1, 2))) for kind in _of(dice, KINDS)},
            purchases=tuple(_several(dice, _purchase, 3)),
            events=tuple(_several(dice, _did, 6)),
            messages=tuple(_several(dice, _sent, 3)),
            consents={purpose: dice.choice(_SAID) for purpose in _of(dice, PURPOSES, 3)},
            topics={topic: dice.choice(_SAID) for topic in _of(dice, TOPICS)},
            suppressed={channel: dice.choice(REASONS) for channel in _of(dice, CHANNELS, 2)},
            lists=frozenset(_of(dice, LISTS)),
            tags=frozenset(_of(dice, TAGS)),
            journeys=tuple(_several(dice, _journey, 2)),
            replies={step: _reply(dice) for step in _of(dice, STEPS)},
        )
    )


# Hypothesis throws the dice itself, 5 ms a person, and can make whoever fails a test simpler.
people = some.randoms().map(_person)
# It draws a seed, 0.3 ms a person: where nobody is made simpler anyway.
quick_people = some.binary(min_size=16, max_size=16).map(lambda seed: _person(Random(seed)))


def _several(dice: Random, one: Callable[[Random], Made], at_most: int) -> list[Made]:
    return [one(dice) for _ in range(dice.randint(0, at_most))]


def _of(dice: Random, these: Sequence[Made], at_most: int | None = None) -> list[Made]:
    """Some of these, none of them twice."""
    return dice.sample(these, dice.randint(0, len(these) if at_most is None else at_most))


def _flip(dice: Random) -> bool:
    return dice.choice((False, True))


def _instant(dice: Random) -> datetime:
    return NOON + timedelta(days=dice.randint(-3, 3), hours=dice.choice(HOURS))


def _maybe_later(dice: Random) -> datetime | None:
    return _instant(dice) if _flip(dice) else None


def _purchase(dice: Random) -> Purchase:
    products = frozenset(_of(dice, PRODUCTS, 2))
    return Purchase(_instant(dice), Decimal(dice.choice(MONEY)), dice.choice(CURRENCIES), products)


def _did(dice: Random) -> Did:
    properties = {name: _property(dice) for name in _of(dice, ("price", "category"))}
    return Did(dice.choice(EVENTS), _instant(dice), properties)


def _property(dice: Random) -> Any:
    return dice.choice((dice.choice(NUMBERS_NEAR), _json(dice)))


def _sent(dice: Random) -> Sent:
    return Sent(
        source_id=dice.choice((*CAMPAIGNS, *FLOWS)),
        channel=dice.choice(CHANNELS),
        at=_instant(dice),
        received=_flip(dice),
        bounced=_flip(dice),
        opened_at=_maybe_later(dice),
        clicked_at=_maybe_later(dice),
    )


def _journey(dice: Random) -> Journey:
    return Journey(flow_id=dice.choice(FLOWS), step=dice.choice(STEPS), ended=_flip(dice))


def _reply(dice: Random) -> frozenset[str]:
    """A click may come without an open, and both from a message that we don't know to be received."""
    return frozenset(_of(dice, ("received", "opened", "clicked")))


def _held(dice: Random, name: str) -> Any:
    """What people have under this name: dates mostly where they ought to be."""
    if name != "born":
        return _json(dice)
    at = _instant(dice)
    return dice.choice(
        (
            dice.choice(BIRTHDAYS),
            dice.choice(BIRTHDAYS),
            at.date().isoformat(),
            at.isoformat(),
            dice.choice(TEXTS),
            _json(dice),
        )
    )


def _json(dice: Random) -> Any:
    """What `tests.rules.json` draws."""
    match dice.randrange(6):
        case 0:
            return None
        case 1:
            return _several(dice, _scalar, 2)
        case 2:
            return {dice.choice(TEXTS): _scalar(dice)} if _flip(dice) else {}
    return _scalar(dice)


def _scalar(dice: Random) -> Any:
    return dice.choice((dice.choice(TEXTS), dice.choice(NUMBERS), _flip(dice)))
