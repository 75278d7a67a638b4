"""Made-up rules about people, with values that lie close together so that rules hit and miss."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID

from hypothesis import strategies as some

from domain.comparisons import Op
from domain.events import ORDER_PLACED
from domain.moments import Window

NAMES = ("plan", "age", 'odd "name"', "born")
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
NUMBERS_NEAR = (0, 1, 1.5, 10, -2)
scalars = texts | some.booleans() | numbers
json = scalars | some.none() | some.lists(scalars, max_size=2) | some.dictionaries(texts, scalars, max_size=1)


def some_id(n: int) -> UUID:
    return UUID(int=0x0199_0000_0000_7000_8000_0000_0000_0000 + n)


EVENTS = ("viewed", "added", 'odd "event"')
PRODUCTS = ("LP-1", "CD-2", 'odd "sku"')
LISTS, TOPICS, FLOWS, CAMPAIGNS = ([some_id(10 * kind + n) for n in (1, 2)] for kind in range(4))
TAGS = ("vip", 'odd "tag"')
PURPOSES = ("email", "sms", "whatsapp", "push", "tracking")
CHANNELS = ("email", "sms", "whatsapp")

HOURS = (-12, -7, 0, 2, 11)
_days = some.integers(-3, 3).map(lambda days: timedelta(days=days))
_instants = some.builds(
    lambda days, hours: NOON + days + timedelta(hours=hours), _days, some.sampled_from(HOURS)
)
_dates = _days.map(lambda days: (NOON + days).date().isoformat())
MONEY = ("-1", "0", "0.00", "0.0001", "99.99", "100", "100.00", "100.0001")
_money = some.sampled_from(MONEY)


def _group(parts: some.SearchStrategy[Any]) -> some.SearchStrategy[Any]:
    several = some.lists(parts, max_size=3)
    return (
        several.map(lambda them: {"all": them})
        | several.map(lambda them: {"any": them})
        | parts.map(lambda it: {"not": it})
    )


def _condition(kind: str, **fields: some.SearchStrategy[Any]) -> some.SearchStrategy[dict[str, Any]]:
    return some.fixed_dictionaries({"kind": some.just(kind), **fields})


_moments = (
    _dates
    | _instants.map(lambda instant: instant.isoformat())
    | some.sampled_from(
        ("now", "today", "1 day ago", "2 days ago", "12 hours ago", "in 1 day", "1 month ago", "in 2 weeks")
    )
)


def _opens(window: dict[str, str]) -> bool:
    """Whether it is a window at all: there is something in it."""
    try:
        Window.model_validate(window)
    except ValueError:
        return False
    return True


_wide = some.sampled_from(({"after": "1 week ago"}, {"after": "1997-12-01", "before": "in 1 week"}))
_windows = _wide | some.fixed_dictionaries({}, optional={"after": _moments, "before": _moments}).filter(
    _opens
)
_bounded = _wide | some.fixed_dictionaries({"after": _moments}, optional={"before": _moments}).filter(_opens)
BIRTHDAYS = (
    "1970-01-04",
    "1970-01-01",
    "1972-02-29",
    "1998-01-01T08:00:00+14:00",
    "1971-12-31",
    "1970-02-30",
    "1998-01-01",
)

_names = some.sampled_from(NAMES)
_born = some.just("born")
_days_ahead = some.sampled_from((0, 1, 2, 3, 58, 59, 364, 365))
_patterns = some.sampled_from(
    ("a", "^a$", "^[0-9]+$", r"\d.\d", "^.$", "(a|é)b?", r"\w+", "[^a-z]", "😀", "b$", r"\s")
)
_ends = some.tuples(numbers, numbers).map(sorted) | some.tuples(texts, texts).map(sorted)


Rule = dict[str, Any]
OPS: tuple[str, ...] = get_args(Op)
Rules = some.SearchStrategy[Rule]


def _among(op: str) -> some.SearchStrategy[Any]:
    """Values that an operator can be given."""
    match op:
        case "is" | "is not" | "includes" | "does not include":
            return scalars
        case "contains" | "does not contain" | "starts with" | "ends with":
            return texts
        case "matches":
            return _patterns
        case "between":
            return _ends
        case "in" | "not in":
            return some.lists(scalars, min_size=1, max_size=3)
        case "exists" | "does not exist":
            return some.none()
    return texts | numbers


def compared(kind: str, name: some.SearchStrategy[str], ops: Iterable[str] = OPS) -> dict[str, Rules]:
    """Conditions with the operators that attributes, names and properties of events share."""
    return {f"{kind} {op}": _condition(kind, name=name, op=some.just(op), value=_among(op)) for op in ops}


def _any(of: Mapping[str, Rules]) -> Rules:
    return some.one_of(*of.values())


KINDS = ("email", "phone", "user_id", "anonymous_id")
_currency = some.sampled_from((None, *CURRENCIES, "JPY"))
_sizes = ("is", ">", ">=", "<", "<=")
_both = ("before", "on or after")
_events = some.sampled_from(EVENTS)
_any_event = some.sampled_from((*EVENTS, ORDER_PLACED))  # Of an order no properties are asked.
_property_names = some.sampled_from(("price", "category"))
_where = some.lists(
    _any(compared("property", _property_names, ("exists", "does not exist")))
    | _any(compared("property", _property_names)),
    min_size=1,
    max_size=2,
)
_some_products = some.lists(some.sampled_from(PRODUCTS), min_size=1, max_size=2)
_dids = ("received", "opened", "clicked", "bounced")
_channels = some.sampled_from(CHANNELS)
REASONS = ("unsubscribed", "hard bounce", "manual")
_flow_ids = some.sampled_from(FLOWS).map(str)
_spans = some.sampled_from(("12 hours", "1 day", "3 days"))
_then = some.fixed_dictionaries({"name": _any_event}, optional={"within": _spans}) | some.fixed_dictionaries(
    {"name": _events, "where": _where}, optional={"within": _spans}
)
_amounts_of_money = _money | some.sampled_from((0, 100, 99.99))


def _measures(
    amounts: Iterable[str], amount: some.SearchStrategy[Any]
) -> Iterator[tuple[str, str, some.SearchStrategy[Any]]]:
    """Each measure with each of its operators, and values for both."""
    for op in _sizes:
        yield "count", op, some.integers(0, 3)
        for measure in amounts:
            yield measure, op, amount
    for op in _both:
        yield from (("first", op, _moments), ("last", op, _moments))


def _atoms() -> Iterator[tuple[str, Rules]]:
    """Every operator, measure and state of every kind of condition, under a name."""
    yield from compared("attribute", _names).items()
    for op in _both:
        yield f"attribute {op}", _condition("attribute", name=_born, op=some.just(op), value=_moments)
        yield f"known {op}", _condition("known", op=some.just(op), value=_moments)
    for op in ("anniversary in", "anniversary within"):
        yield f"attribute {op}", _condition("attribute", name=_born, op=some.just(op), value=_days_ahead)
    names = (op for op in OPS if "include" not in op)
    yield from compared("identity", some.sampled_from(KINDS), names).items()
    for measure, op, value in _measures(("total", "average", "largest"), _amounts_of_money):
        of: dict[str, Any] = {"measure": some.just(measure), "op": some.just(op), "value": value}
        for window, products in ((False, False), (True, False), (False, True), (True, True)):
            parts: dict[str, some.SearchStrategy[Any]] = {"window": _windows} if window else {}
            if products:
                parts["products"] = _some_products
            named = " ".join(["orders", measure, op, *parts])
            yield named, _condition("orders", **of, currency=_currency, **parts)
    yield "event", _condition("event", name=_any_event)
    for measure, op, value in _measures(
        ("sum", "average", "largest"), some.sampled_from((0, 1, 1.5, "10", -2))
    ):
        of = {"measure": some.just(measure), "op": some.just(op), "value": value}
        if measure in ("sum", "average", "largest"):
            yield (
                f"event {measure} {op}",
                _condition("event", name=_events, property=_property_names, window=_bounded, **of),
            )
        else:
            yield f"event {measure} {op}", _condition("event", name=_any_event, **of)
            yield f"event {measure} {op} window", _condition("event", name=_any_event, window=_windows, **of)
            yield (
                f"event {measure} {op} where",
                _condition("event", name=_events, window=_bounded, where=_where, **of),
            )
    first = some.fixed_dictionaries({"name": _any_event})
    yield "sequence of 2", _condition("sequence", steps=some.tuples(first, _then), window=_bounded)
    yield "sequence of 3", _condition("sequence", steps=some.tuples(first, _then, _then), window=_bounded)
    often = {"op": some.sampled_from(_sizes), "value": some.integers(0, 2)}
    for word in _dids:
        did = some.just(word)
        campaign = some.sampled_from(CAMPAIGNS).map(str)
        channel = some.none() | _channels
        yield f"messages {word}", _condition("messages", did=did, window=_bounded, channel=channel, **often)
        yield f"messages {word} campaign", _condition("messages", did=did, campaign_id=campaign, **often)
        yield f"messages {word} flow", _condition("messages", did=did, flow_id=_flow_ids, window=_windows)
    for state in ("granted", "denied", "unknown"):
        said = some.just(state)
        yield f"consent {state}", _condition("consent", purpose=some.sampled_from(PURPOSES), state=said)
        yield f"topic {state}", _condition("topic", topic_id=some.sampled_from(TOPICS).map(str), state=said)
    for reason in (None, *REASONS):
        yield f"suppressed {reason}", _condition("suppressed", channel=_channels, reason=some.just(reason))
    yield "list", _condition("list", list_id=some.sampled_from(LISTS).map(str))
    yield "tag", _condition("tag", tag=some.sampled_from(TAGS))
    for place in ("in", "finished", "entered"):
        yield f"flow {place}", _condition("flow", flow_id=_flow_ids, place=some.just(place))
    yield "flow at a step", _condition("flow", flow_id=_flow_ids, step=some.sampled_from(STEPS))
    share = {"percent": some.sampled_from((0, 33.33, 50, 100)), "salt": some.sampled_from(("", "é"))}
    yield "share", _condition("share", **share)


ATOMS = dict(_atoms())
MESSAGES = {
    f"message {did}": _condition("message", did=some.just(did), step=some.sampled_from(STEPS))
    for did in ("received", "opened", "clicked")
}
plain_attribute = _any(compared("attribute", _names))
conditions = _any(ATOMS)

# Rules as JSON: for segments, and for branches, which may ask about messages of the journey too.
rules = some.recursive(conditions, _group, max_leaves=5)
branches = some.recursive(conditions | _any(MESSAGES), _group, max_leaves=5)


def near(rule: Rule, found: Any) -> Rule:
    """The condition with a value that is taken from somebody, so that it may hold of them."""
    op, element = rule.get("op"), found[0] if isinstance(found, list) and found else found
    if rule["kind"] not in ("attribute", "identity") or not isinstance(element, str | int | float):
        return rule
    match op:
        case "is" | "is not" | "includes" | "does not include":
            return rule | {"value": element}
        case "in" | "not in":
            return rule | {"value": [element, "other"]}
        case "contains" | "does not contain" | "starts with" | "ends with":
            return rule | {"value": element if isinstance(element, str) else rule["value"]}
        case ">" | ">=" | "<" | "<=" | "between" if not isinstance(element, bool):
            ends = ("", element + "z") if isinstance(element, str) else (-1e16, 1e16)
            nearby = {"between": [element, element], ">": ends[0], "<": ends[1]}.get(op, element)
            return rule | {"value": nearby}
    return rule
