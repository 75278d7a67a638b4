"""What a condition finds of a person: the fact that makes it true or false, in words."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import assert_never

from domain import wording
from domain.conditions import (
    Attribute,
    Consent,
    Identity,
    InFlow,
    InSegment,
    Known,
    OnList,
    Share,
    Suppressed,
    Tagged,
    Topic,
)
from domain.deeds import Event, Message, Messages, Orders, Sequence_, did
from domain.facts import Did, Person
from domain.measures import about, measured
from domain.moments import When
from domain.phrases import KINDS, PURPOSES, WHY_SUPPRESSED
from domain.profiles import SuppressionReason
from domain.segments import Condition
from domain.values import as_number
from domain.wording import counted, listed, named, quoted, times

_SAID = {
    "granted": "they agreed to",
    "denied": "they declined",
    "unknown": "they never said anything about",
}
_ONE = {"measure": "count", "op": ">=", "value": 1}  # Asks whether this one counts.


def found(  # noqa: PLR0912 - one case for each kind of condition
    condition: Condition, person: Person, when: When
) -> str | None:
    """A sentence without its full stop, or None where the condition's own words say it all.

    Days are those of the workspace's time zone.
    """
    match condition:
        case Attribute(name=name):
            value = person.attributes.get(name)
            return (
                f"{named(name)} has no value" if value is None else f"{named(name)} is {wording.value(value)}"
            )
        case Identity(name=kind):
            return _names(KINDS[kind][1], sorted(person.names.get(kind, ())))
        case Known():
            at = person.known_since
            return f"they became known on {_day(at, when)}" if at else "nobody knows since when"
        case Orders():
            return _orders(condition, person, when)
        case Event():
            return _events(condition, person, when)
        case Sequence_():
            return _sequence(condition, person, when)
        case Messages():
            return _messages(condition, person, when)
        case Message(step=step):
            replies = sorted(person.replies.get(step, ()))
            return f"they {listed(replies)} it" if replies else "nothing is known of such a message"
        case Consent(purpose=purpose):
            return f"{_SAID[person.consents.get(purpose, 'unknown')]} {PURPOSES[purpose]}"
        case Topic(topic_id=topic):
            return f"{_SAID[person.topics.get(topic, 'unknown')]} it"
        case Suppressed(channel=channel):
            reason = person.suppressed.get(channel)
            if reason is None:
                return "it is not suppressed"
            return f"it is suppressed {WHY_SUPPRESSED[SuppressionReason(reason)]}"
        case Tagged():
            return _names("tag", sorted(person.tags))
        case InFlow():
            return _journeys(condition, person)
        case OnList() | Share() | InSegment():
            return None
    assert_never(condition)


def _day(at: datetime, when: When) -> str:
    return wording.day(at.astimezone(when.zone).date())


def _names(kind: str, them: Sequence[str]) -> str:
    if not them:
        return f"there is no {kind}"
    several = kind + ("es" if kind.endswith("s") else "s")
    said = listed([quoted(each) for each in them])
    return f"the {kind} is {said}" if len(them) == 1 else f"the {several} are {said}"


def _orders(asked: Orders, person: Person, when: When) -> str:
    counts = asked.model_copy(update=_ONE)
    these = [each for each in person.purchases if counts.holds(Person(purchases=(each,)), when)]
    if not these:
        return "there is no such order"
    moments, amounts = [each.at for each in these], [each.total for each in these]
    many = counted(len(these), "order")
    match asked.measure:
        case "count":
            return f"{'there is' if len(these) == 1 else 'there are'} {many}"
        case "first" | "last" as measure:
            return _when(f"the {measure} order", measure, moments, when)
        case "total" | "average" | "largest" as measure:
            amount = _amount(measure, moments, amounts)
            said = wording.money(amount, asked.currency or when.currency)
            if measure == "total":
                return f"they spent {said} over {many}"
            return f"the {measure} order is {'about ' * (measure == 'average')}{said}"
    assert_never(asked.measure)


def _amount(measure: str, moments: Sequence[datetime], amounts: Sequence[Decimal]) -> Decimal:
    amount = measured(measure, moments, amounts)
    assert isinstance(amount, Decimal), "There is at least one."
    return about(amount, len(amounts)) if measure == "average" else amount


def _when(what: str, measure: str, moments: Sequence[datetime], when: When) -> str:
    at = measured(measure, moments, [])
    assert isinstance(at, datetime), "There is at least one."
    return f"{what} was on {_day(at, when)}"


def _events(asked: Event, person: Person, when: When) -> str:
    these = did(asked.name, asked.where, asked.window, person, when)
    if not these:
        return "there is no such event"
    moments = [each.at for each in these]
    match asked.measure:
        case "count":
            last = _day(max(moments), when)
            return f"they did it {times(len(these))}, {'' if len(these) == 1 else 'last '}on {last}"
        case "first" | "last" as measure:
            return _when(f"the {measure} one", measure, moments, when)
        case "sum" | "average" | "largest" as measure:
            return _added_up(measure, asked.property_ or "", these)
    assert_never(asked.measure)


def _added_up(measure: str, property_: str, these: Sequence[Did]) -> str:
    read = [as_number(each.properties.get(property_)) for each in these]
    amounts = [number for number in read if number is not None]
    if not amounts:
        return f"{named(property_)} is a number in none of {counted(len(these), 'event')}"
    amount = _amount(measure, [], amounts)
    verb = {"sum": "adds up to", "average": "averages about", "largest": "is at most"}[measure]
    return f"{named(property_)} {verb} {wording.number(amount)} in {counted(len(amounts), 'event')}"


def _sequence(asked: Sequence_, person: Person, when: When) -> str | None:
    """How far they came, where that is not to the end."""
    reached = None
    for many in range(1, len(asked.steps) + 1):
        if not asked.model_copy(update={"steps": asked.steps[:many]}).holds(person, when):
            missing = quoted(asked.steps[many - 1].name)
            return f"there is no such {missing}" + (f" after {quoted(reached)}" if reached else "")
        reached = asked.steps[many - 1].name
    return None


def _messages(asked: Messages, person: Person, when: When) -> str:
    counts = asked.model_copy(update={"op": ">=", "value": 1})
    many = sum(counts.holds(Person(messages=(each,)), when) for each in person.messages)
    if not many:
        return "there is no such message"
    return f"{'there is' if many == 1 else 'there are'} {counted(many, 'such message')}"


def _journeys(asked: InFlow, person: Person) -> str:
    journeys = [each for each in person.journeys if each.flow_id == asked.flow_id]
    if under_way := sorted({each.step for each in journeys if not each.ended}):
        return f"they are at {listed([quoted(each) for each in under_way])}"
    return "they have finished it" if journeys else "they never entered it"
