"""Segments that most shops want, ready to be made: the life of a customer, who reads, and RFM.

RFM, from direct marketing, scores each buyer from 1 to 5 by recency, frequency and monetary value, each in
quintiles of all buyers (A. M. Hughes, Strategic Database Marketing, 1994). The ten groups of recency and
frequency are the customary ones, in the cut that gives each pair of scores to just one of them; who spent
most is a group of its own across them. Days are fixed when a segment is made: make them anew when the shop
has changed.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, TypeAlias

from domain.segments import Part, parse
from domain.sentences import Names, sentence

Group: TypeAlias = Literal["lifecycle", "engagement", "rfm"]
Four: TypeAlias = tuple[int, int, int, int]


FURTHEST = 36_500  # Days that a rule can count back. An order dated ahead counts as one of today.


@dataclass(frozen=True, slots=True)
class Quintiles:
    """What parts a workspace's buyers into fifths, in its currency: at about 20, 40, 60 and 80 % of them.

    A value that is one of these belongs to the lower part.
    """

    days: Four  # Since the last order, whole ones, rounded up.
    orders: Four
    total: tuple[Decimal, Decimal, Decimal, Decimal]


@dataclass(frozen=True, slots=True)
class Preset:
    name: str  # No two have the same.
    group: Group
    rule: Part
    sentence: str
    good_for: str


Scores: TypeAlias = tuple[int, int]  # From one to another, both included.

# Recency, frequency. Together they cover each pair once.
RFM: tuple[tuple[str, Scores, Scores, str], ...] = (
    ("RFM: champions", (5, 5), (4, 5), "Reward them, ask for reviews, show them what is new first."),
    ("RFM: loyal", (3, 4), (4, 5), "Offer what costs more, and a club or points."),
    (
        "RFM: potential loyalists",
        (4, 5),
        (2, 3),
        "Recommend what goes with what they have, until it is a habit.",
    ),
    ("RFM: newcomers", (5, 5), (1, 1), "Welcome them, help with the first purchase, lead to the second."),
    ("RFM: promising", (4, 4), (1, 1), "Stay in their minds: stories, a small gift."),
    ("RFM: need attention", (3, 3), (3, 3), "An offer that ends soon, of what they bought before."),
    ("RFM: about to sleep", (3, 3), (1, 2), "Remind them of what is popular, before they forget you."),
    ("RFM: at risk", (1, 2), (3, 4), "Ask what went wrong, and win them back with something of their own."),
    ("RFM: can't lose them", (1, 2), (5, 5), "Bought most often and went quiet: call, or write in person."),
    ("RFM: hibernating", (1, 2), (1, 2), "Try once with an offer; if nothing comes, write less."),
)


def presets(quintiles: Quintiles | None, currency: str) -> list[Preset]:
    """The ready segments of a workspace with this currency (ISO 4217).

    Without quintiles, as long as there are no buyers, those of RFM are left out; with them, those that could
    have no members because many buyers are alike: where most bought once, there is no second fifth.
    """
    ready = [*_lifecycle(), *_engagement(), *([] if quintiles is None else _rfm(quintiles, currency))]
    names = Names(currency)
    made = []
    for name, group, data, good_for in ready:
        rule = parse(data)
        made.append(Preset(name, group, rule, sentence(rule, names), good_for))
    return made


Ready: TypeAlias = tuple[str, Group, dict[str, Any], str]


def _orders(measure: str, op: str, value: str | int, **more: str) -> dict[str, Any]:
    return {"kind": "orders", "measure": measure, "op": op, "value": value, **more}


def _messages(did: str, op: str, value: int) -> dict[str, Any]:
    window = {"after": "90 days ago"}
    return {"kind": "messages", "did": did, "op": op, "value": value, "window": window}


def _lifecycle() -> list[Ready]:
    """The orders of the workspace's currency count, whichever that is."""
    cold = _orders("last", "before", "90 days ago"), _orders("last", "on or after", "180 days ago")
    return [
        (
            "New customers",
            "lifecycle",
            _orders("first", "on or after", "30 days ago"),
            "Welcome them, and lead to the second order: most who leave do so before it.",
        ),
        (
            "Active customers",
            "lifecycle",
            _orders("last", "on or after", "90 days ago"),
            "What is new, what goes with their last order.",
        ),
        (
            "At risk",
            "lifecycle",
            {"all": [_orders("count", ">=", 2), *cold]},
            "They came back once and went quiet: remind them while they still know you.",
        ),
        (
            "Lapsed",
            "lifecycle",
            _orders("last", "before", "180 days ago"),
            "One attempt to win them back; then write seldom.",
        ),
        (
            "Never ordered",
            "lifecycle",
            _orders("count", "is", 0),
            "A reason for the first order.",
        ),
    ]


def _engagement() -> list[Ready]:
    read = [_messages("opened", ">=", 1), _messages("clicked", ">=", 1)]
    unread = [_messages("received", ">=", 3), *(_messages(did, "is", 0) for did in ("opened", "clicked"))]
    return [
        (
            "Engaged",
            "engagement",
            {"any": read},
            "Write to them first: mailbox providers judge a sender by who reads.",
        ),
        (
            "Unengaged",
            "engagement",
            {"all": unread},
            "Ask whether they still want mail, and stop where no answer comes.",
        ),
    ]


def _rfm(quintiles: Quintiles, currency: str) -> list[Ready]:
    ready: list[Ready] = []
    for name, recency, frequency, good_for in RFM:
        days, orders = _recency(recency, quintiles.days), _frequency(frequency, quintiles.orders)
        if days is not None and orders is not None:
            rule = {"all": [{**each, "currency": currency} for each in (*orders, *days)]}
            ready.append((name, "rfm", rule, good_for))
    richest = _orders("total", ">", format(quintiles.total[3], "f"), currency=currency)
    ready.append(
        ("RFM: big spenders", "rfm", richest, "Your best goods and service, whatever else they are.")
    )
    return ready


def _recency(scores: Scores, days: Four) -> list[dict[str, Any]] | None:
    """Who has these scores: 5 is up to the first number of days, 1 more than the last. None: nobody can."""
    lowest, highest = scores
    said = [min(max(each, 0), FURTHEST) for each in days]
    least = None if highest == 5 else said[4 - highest]  # More days than these,
    most = None if lowest == 1 else said[5 - lowest]  # and not more than these.
    if least is not None and most is not None and least >= most:
        return None
    asked = []
    if least is not None:
        asked.append(_orders("last", "before", f"{least} days ago"))
    if most is not None:
        asked.append(_orders("last", "on or after", f"{most} days ago"))
    return asked


def _frequency(scores: Scores, orders: Four) -> list[dict[str, Any]] | None:
    """The same of the number of orders: 1 is up to the first number, 5 more than the last."""
    lowest, highest = scores
    least = 1 if lowest == 1 else orders[lowest - 2] + 1
    most = None if highest == 5 else orders[highest - 1]
    if most is not None and least > most:
        return None
    if most == least:
        return [_orders("count", "is", least)]
    asked = [_orders("count", ">=", least)]
    if most is not None:
        asked.append(_orders("count", "<=", most))
    return asked
