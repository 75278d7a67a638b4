"""Each kind of condition in words, and its denial: what `domain.sentences` puts together.

The words go behind "people who": "spent at least $100", "is not on the list "VIP"". The denial is true of
exactly those of whom the condition is false.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, assert_never
from uuid import UUID

from domain import wording
from domain.comparisons import DENIES, Property
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
from domain.deeds import Event, Message, Messages, Orders, Sequence_
from domain.profiles import SuppressionReason
from domain.segments import Condition
from domain.values import Value, as_text
from domain.wording import counted, listed, named, one_of, quoted, times


@dataclass(frozen=True, slots=True)
class Names:
    """What the ids in rules are called, and the workspace's currency (ISO 4217)."""

    currency: str
    of: Mapping[UUID, str] = field(
        default_factory=dict
    )  # Lists, segments, campaigns, flows and topics alike.

    def quoted(self, kind: str, its_id: UUID) -> str:
        name = self.of.get(its_id)
        return f"the unknown {kind} {its_id}" if name is None else f"the {kind} {quoted(name)}"


class Phrase(NamedTuple):
    yes: str
    no: str


SIZES = {"is": "exactly", ">": "more than", ">=": "at least", "<": "less than", "<=": "at most"}
OTHERWISE = {">": "<=", ">=": "<", "<": ">=", "<=": ">"}  # What is true of a number where the other is not.
PURPOSES = {"email": "email", "sms": "SMS", "whatsapp": "WhatsApp", "push": "push", "tracking": "tracking"}
KINDS = {
    "email": ("an", "email address"),
    "phone": ("a", "phone number"),
    "user_id": ("a", "user ID"),
    "anonymous_id": ("an", "anonymous ID"),
}
WHY_SUPPRESSED = {
    SuppressionReason.UNSUBSCRIBED: "after an unsubscribe",
    SuppressionReason.HARD_BOUNCE: "after a bounce",
    SuppressionReason.COMPLAINED: "after a complaint",
    SuppressionReason.MANUAL: "by hand",
    SuppressionReason.ERASED: "after an erasure",
}
_SENT = {
    None: ("a", "message", "messages"),
    "email": ("an", "email", "emails"),
    "sms": ("an", "SMS", "SMS"),
    "whatsapp": ("a", "WhatsApp message", "WhatsApp messages"),
    "push": ("a", "push message", "push messages"),
}
_REPLIES = {"received": "receive", "opened": "open", "clicked": "click"}
_INFINITIVES = {"contains": "contain", "starts": "start", "ends": "end", "matches": "match"}
_SORTS = {">": "after", ">=": "at or after", "<": "before", "<=": "at or before"}


def phrase(  # noqa: PLR0912 - one case for each kind of condition
    condition: Condition, names: Names
) -> Phrase:
    match condition:
        case Attribute():
            return _attribute(condition)
        case Identity():
            return _identity(condition)
        case Known(op=op, value=moment):
            when = wording.until(moment) if op == "before" else wording.was_since(moment)
            return Phrase(f"became known {when}", f"did not become known {when}")
        case Orders():
            return _orders(condition, names)
        case Event():
            return _event(condition)
        case Sequence_():
            return _sequence(condition)
        case Messages():
            return _messages(condition, names)
        case Message(did=did, step=step):
            message = f"the message of the step {quoted(step)}"
            return Phrase(f"{did} {message}", f"did not {_REPLIES[did]} {message}")
        case Consent(purpose=purpose, state=state):
            return _said(state, "on", PURPOSES[purpose])
        case Topic(topic_id=topic, state=state):
            return _said(state, "on", names.quoted("topic", topic))
        case Suppressed(channel=channel, reason=reason):
            why = f" {WHY_SUPPRESSED[reason]}" if reason else ""
            return _is(f"suppressed for {PURPOSES[channel]}{why}")
        case OnList(list_id=its_id):
            return _is(f"on {names.quoted('list', its_id)}")
        case Tagged(tag=tag):
            return _is(f"tagged {quoted(tag)}")
        case InSegment(segment_id=segment):
            return _is(f"in {names.quoted('segment', segment)}")
        case InFlow():
            return _in_flow(condition, names)
        case Share(percent=percent, salt=salt):
            called = f" called {quoted(salt)}" if salt else ""
            return _is(f"in the random {as_text(percent)}%{called}")
    assert_never(condition)


def _is(what: str, subject: str = "") -> Phrase:
    return Phrase(spaced(subject, "is", what), spaced(subject, "is not", what))


def _said(state: str, on: str, what: str) -> Phrase:
    match state:
        case "granted":
            return Phrase(f"agreed to {what}", f"did not agree to {what}")
        case "denied":
            return Phrase(f"declined {what}", f"did not decline {what}")
    return Phrase(f"never decided {on} {what}", f"decided {on} {what}")


def compared(subject: str, op: str, value: Value) -> Phrase:
    """A comparison of `domain.comparisons`, of what is called `subject`."""
    if op in DENIES:
        yes, no = compared(subject, DENIES[op], value)
        return Phrase(no, yes)
    said = wording.value(value)
    match op, value:
        case "exists", _:
            return Phrase(f"{subject} has a value", f"{subject} has no value")
        case "is", _:
            return _is(said, subject)
        case "in", (only,):
            return compared(subject, "is", only)
        case "in", tuple(several):
            words = [wording.value(each) for each in several]
            return Phrase(f"{subject} is {one_of(words)}", f"{subject} is none of {listed(words)}")
        case "includes", _:
            return Phrase(f"{said} is among {subject}", f"{said} is not among {subject}")
        case "contains" | "starts with" | "ends with" | "matches", _:
            verb, _, preposition = op.partition(" ")
            infinitive = spaced(_INFINITIVES[verb], preposition)
            return Phrase(f"{subject} {op} {said}", f"{subject} does not {infinitive} {said}")
        case "between", (str(low), str(high)):
            ends = f"from {quoted(low)} to {quoted(high)}"
            return Phrase(f"{subject} sorts {ends}", f"{subject} does not sort {ends}")
        case "between", (low, high):
            return _is(f"from {wording.value(low)} to {wording.value(high)}", subject)
        case ">" | ">=" | "<" | "<=", str():
            where = f"{_SORTS[op]} {said}"
            return Phrase(f"{subject} sorts {where}", f"{subject} does not sort {where}")
        case ">" | ">=" | "<" | "<=", _:
            return _is(f"{SIZES[op]} {said}", subject)
    raise LookupError(f'There are no words for "{op}": add them here.')


def _attribute(asked: Attribute) -> Phrase:
    name = named(asked.name)
    match asked.op, asked.value:
        case "before", str(moment):
            return _is(wording.until(moment), name)
        case "on or after", str(moment):
            return _is(wording.or_later(moment), name)
        case "anniversary in" | "anniversary within", 0:
            return Phrase(f"{name} comes round today", f"{name} does not come round today")
        case "anniversary in", int(days) if days < 0:
            ago = f"{counted(-days, 'day')} ago"
            return Phrase(f"{name} came round {ago}", f"{name} did not come round {ago}")
        case "anniversary in" | "anniversary within" as op, int(days):
            soon = f"{'within' if op == 'anniversary within' else 'in'} {counted(days, 'day')}"
            return Phrase(f"{name} comes round {soon}", f"{name} does not come round {soon}")
    return compared(name, asked.op, asked.value)


def _identity(asked: Identity) -> Phrase:
    if asked.op in DENIES:
        yes, no = _identity(asked.model_copy(update={"op": DENIES[asked.op]}))
        return Phrase(no, yes)
    article, kind = KINDS[asked.name]
    if asked.op == "exists":
        return Phrase(f"has {article} {kind}", f"has no {kind}")
    return Phrase(
        compared(f"{article} {kind}", asked.op, asked.value).yes,
        compared(f"no {kind}", asked.op, asked.value).yes,
    )


def is_some(op: str, value: object) -> bool:
    return (op, value) in ((">=", 1), (">", 0))


def is_none(op: str, value: object) -> bool:
    return (op, value) in (("is", 0), ("<", 1), ("<=", 0))


def size(op: str, what: str, countable: bool = False) -> str:
    """ "at least $100", "fewer than 3 orders"."""
    return f"{'fewer than' if countable and op == '<' else SIZES[op]} {what}"


def spaced(*words: str) -> str:
    return " ".join(word for word in words if word)


def scope(asked: Orders, names: Names) -> tuple[str, str]:
    """Which orders count, and when: of which products, and currency where no amount says it."""
    products = [quoted(each) for each in asked.products or ()]
    with_these = f"with {one_of(products)}" if products else ""
    elsewhere = asked.currency not in (None, names.currency) and asked.measure in ("count", "first", "last")
    return spaced(with_these, f"in {asked.currency}" if elsewhere else ""), wording.window(asked.window)


def _orders(asked: Orders, names: Names) -> Phrase:
    which, when = scope(asked, names)
    match asked.measure:
        case "count":
            return _bought(asked, which, when)
        case "total":
            amount = _amount(asked, names)
            tail = spaced("on orders " + which if asked.products else which, when)
            return _sized(asked.op, "spent", "spend", size(asked.op, amount), amount, tail)
        case "average" | "largest":
            what = spaced(f"{asked.measure} order", which, when, "of", size(asked.op, _amount(asked, names)))
            return Phrase(f"has {'an' if asked.measure == 'average' else 'a'} {what}", f"has no {what}")
        case "first" | "last":
            _, none = _something(asked, which)
            return _placed(asked.measure, asked.op, str(asked.value), spaced("order", which), when, none)
    assert_never(asked.measure)


def _amount(asked: Orders, names: Names) -> str:
    return wording.money(asked.value, asked.currency or names.currency)


def _something(asked: Orders, which: str) -> tuple[str, str]:
    """At least one order of these, and none."""
    if asked.products:
        return f"placed an order {which}", f"placed no order {which}"
    return spaced("bought something", which), spaced("bought nothing", which)


def _bought(asked: Orders, which: str, when: str) -> Phrase:
    value = int(asked.value)
    some, none = (spaced(each, when) for each in _something(asked, which))
    if not which and not when:
        none = "never bought anything"
    if is_some(asked.op, value):
        return Phrase(some, none)
    if is_none(asked.op, value):
        return Phrase(none, some)
    orders = counted(value, "order")
    return _sized(
        asked.op, "placed", "place", size(asked.op, orders, True), orders, spaced(which, when), True
    )


def _sized(op: str, did: str, do: str, sized: str, what: str, tail: str, countable: bool = False) -> Phrase:
    """Of what is 0 where there is none, so that its denial is the other half of the numbers."""
    if op == "is":
        return Phrase(spaced(did, sized, tail), spaced("did not", do, sized, tail))
    return Phrase(spaced(did, sized, tail), spaced(did, size(OTHERWISE[op], what, countable), tail))


def _placed(measure: str, op: str, moment: str, what: str, when: str, nothing: str) -> Phrase:
    """When the first or last of something was, of which there may be none."""
    then = wording.until(moment) if op == "before" else wording.was_since(moment)
    yes = spaced(f"the {measure}", what, when, "was", then)
    if when or (measure, op) in (("first", "on or after"), ("last", "before")):
        return Phrase(yes, spaced(f"has no {measure}", what, when, "that was" if when else "", then))
    none = wording.until(moment) if op == "before" else wording.since(moment)
    return Phrase(yes, spaced(nothing, none))


def _where(where: Iterable[Property]) -> str:
    said = [compared(named(each.name), each.op, each.value).yes for each in where]
    return f"(where {' and '.join(said)})" if said else ""


def _event(asked: Event) -> Phrase:
    name, where, when = quoted(asked.name), _where(asked.where), wording.window(asked.window)
    match asked.measure:
        case "count":
            value = int(asked.value)
            some = spaced("did", name, when, where)
            none = spaced("did not do" if when else "never did", name, when, where)
            if is_some(asked.op, value):
                return Phrase(some, none)
            if is_none(asked.op, value):
                return Phrase(none, some)
            did, often = f"did {name}", times(value)
            return _sized(
                asked.op, did, f"do {name}", size(asked.op, often, True), often, spaced(when, where), True
            )
        case "sum" | "average" | "largest":
            return _added_up(asked, spaced("of", name, when, where))
        case "first" | "last":
            none = spaced("did not do", name, where)
            return _placed(asked.measure, asked.op, str(asked.value), spaced(name, where), when, none)
    assert_never(asked.measure)


def _added_up(asked: Event, of_these: str) -> Phrase:
    property_ = named(asked.property_ or "")
    sized = size(asked.op, wording.value(asked.value))
    match asked.measure:
        case "sum":
            return Phrase(
                f"{property_} {of_these} adds up to {sized}",
                f"{property_} {of_these} does not add up to {sized}",
            )
        case "average":
            return Phrase(
                f"{property_} {of_these} averages {sized}", f"{property_} {of_these} does not average {sized}"
            )
    return Phrase(
        f"the largest {property_} {of_these} is {sized}", f"the largest {property_} {of_these} is not {sized}"
    )


def _sequence(asked: Sequence_) -> Phrase:
    steps = [
        spaced(quoted(each.name), _where(each.where), f"within {_length(each.within)}" if each.within else "")
        for each in asked.steps
    ]
    what = f"{' and then '.join(steps)}, all {wording.window(asked.window)}"
    return Phrase(f"did {what}", f"did not do {what}")


def _length(span: str) -> str:
    number, unit = span.split()
    return counted(int(number), unit.removesuffix("s"))


def _messages(asked: Messages, names: Names) -> Phrase:
    article, one, several = _SENT[asked.channel]
    source = ""
    if asked.campaign_id:
        source = f"of {names.quoted('campaign', asked.campaign_id)}"
    elif asked.flow_id:
        source = f"of {names.quoted('flow', asked.flow_id)}"
    when = wording.window(asked.window)
    if asked.did == "bounced":
        did, do, rest = "had", "have", spaced(source, "bounce", when)
    else:
        did, do, rest = str(asked.did), _REPLIES[asked.did], spaced(source, when)
    some, none = spaced(did, article, one, rest), spaced(did, "no", one, rest)
    if is_some(asked.op, asked.value):
        return Phrase(some, none)
    if is_none(asked.op, asked.value):
        return Phrase(none, some)
    many = counted(asked.value, one, several)
    return _sized(asked.op, did, do, size(asked.op, many, True), many, rest, True)


def _in_flow(asked: InFlow, names: Names) -> Phrase:
    flow = names.quoted("flow", asked.flow_id)
    match asked.place:
        case "in":
            return _is(spaced("in", flow, f"at the step {quoted(asked.step)}" if asked.step else ""))
        case "finished":
            return Phrase(f"has finished {flow}", f"has not finished {flow}")
        case "entered":
            return Phrase(f"has entered {flow}", f"has never entered {flow}")
    assert_never(asked.place)
