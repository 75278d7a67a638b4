"""Made-up people and rules about them, with values that lie close together so that rules hit and miss."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as some

from domain.segments import Person, Rollup

NAMES = ("plan", "age", 'odd "name"')
STEPS = ("welcome", "reminder")
ZONES = ("UTC", "America/New_York", "Pacific/Auckland", "America/Sao_Paulo")
CURRENCIES = ("USD", "EUR")
NOON = datetime(1998, 1, 1, 12, tzinfo=UTC)

_words = ("", "a", "A", "ab", "b", "é", "😀", "%", "_", "a\nb", "1998-01-01", "1998-01-02", "null")
_digits = (
    "0",
    "-0",
    "+1",
    "1",
    "1.0",
    "1.50",
    "1.5",
    "-2",
    "10",
    "1e1",
    " 1",
    "1\n",
    "٣",
    "12345678901234567890",
)
_truths = ("true", "True", "FALSE", "false ", "yes")
TEXTS = (*_words, *_digits, *_truths)
texts = some.sampled_from(TEXTS)
NUMBERS = (0, -0.0, 1, 1.0, 1.5, -2, 10, 9.99, 1e-7, 1e16, 2**53 + 1, 12345678901234567, 1e300)
numbers = some.sampled_from(NUMBERS)
scalars = texts | some.booleans() | numbers
json = scalars | some.none() | some.lists(scalars, max_size=2) | some.dictionaries(texts, scalars, max_size=1)

_days = some.integers(-3, 3).map(lambda days: timedelta(days=days))
_instants = some.builds(
    lambda days, hours: NOON + days + timedelta(hours=hours), _days, some.sampled_from((-12, -7, 0, 2, 11))
)
_dates = _days.map(lambda days: (NOON + days).date().isoformat())
_money = some.sampled_from(("-1", "0", "0.00", "0.0001", "99.99", "100", "100.00", "100.0001"))


def _group(parts: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    several = some.lists(parts, max_size=3)
    return (
        several.map(lambda them: {"all": them})
        | several.map(lambda them: {"any": them})
        | parts.map(lambda it: {"not": it})
    )


def _condition(kind: str, **fields: some.SearchStrategy[Any]) -> some.SearchStrategy[dict[str, Any]]:
    return some.fixed_dictionaries({"kind": some.just(kind), **fields})


_names = some.sampled_from((*NAMES, "missing"))
attribute = (
    _condition("attribute", name=_names, op=some.sampled_from(("is", "is not")), value=scalars)
    | _condition(
        "attribute", name=_names, op=some.sampled_from((">", ">=", "<", "<=")), value=texts | numbers
    )
    | _condition("attribute", name=_names, op=some.sampled_from(("contains", "starts with")), value=texts)
    | _condition(
        "attribute", name=_names, op=some.just("in"), value=some.lists(scalars, min_size=1, max_size=3)
    )
    | _condition("attribute", name=_names, op=some.just("exists"))
)
_currency = some.sampled_from((None, *CURRENCIES, "JPY"))
_sizes = some.sampled_from(("is", ">", ">=", "<", "<="))
orders = (
    _condition(
        "orders",
        measure=some.just("total"),
        op=_sizes,
        value=_money | some.sampled_from((0, 100, 99.99)),
        currency=_currency,
    )
    | _condition(
        "orders", measure=some.just("count"), op=_sizes, value=some.integers(0, 3), currency=_currency
    )
    | _condition(
        "orders",
        measure=some.sampled_from(("first", "last")),
        op=some.sampled_from(("before", "on or after")),
        value=_dates | _instants.map(lambda instant: instant.isoformat()),
        currency=_currency,
    )
)
message = _condition(
    "message", did=some.sampled_from(("received", "opened", "clicked")), step=some.sampled_from(STEPS)
)

# Rules as JSON: for segments, and for branches, which may ask about messages too.
rules = some.recursive(attribute | orders, _group, max_leaves=5)
branches = some.recursive(attribute | orders | message, _group, max_leaves=5)


def _rollup(purchases: list[tuple[datetime, str]]) -> Rollup:
    instants = [at for at, _ in purchases]
    total = sum((Decimal(amount) for _, amount in purchases), Decimal(0))
    return Rollup(total, len(purchases), min(instants), max(instants))


_rollups = some.lists(some.tuples(_instants, _money), min_size=1, max_size=3).map(_rollup)
# A click may come without an open, and both from a message of which we don't know that it was received.
_done = some.sets(some.sampled_from(("received", "opened", "clicked"))).map(frozenset)
people = some.builds(
    Person,
    attributes=some.dictionaries(some.sampled_from(NAMES), json),
    orders=some.dictionaries(some.sampled_from(CURRENCIES), _rollups),
    messages=some.dictionaries(some.sampled_from(STEPS), _done),
)
