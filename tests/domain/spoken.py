"""A condition of each kind and with each operator, what it says, and what its `not` says."""

from typing import Any
from uuid import UUID

from domain.sentences import Names

VIP, NEWS, SPRING, WELCOME, TOPIC, NOWHERE = (UUID(int=number) for number in range(1, 7))
NAMES = Names(
    "USD", {VIP: "VIP", NEWS: "Readers", SPRING: "Spring letter", WELCOME: "Welcome", TOPIC: "Jazz"}
)
LATELY = {"after": "30 days ago"}
SHOES = [{"kind": "property", "name": "category", "op": "is", "value": "shoes"}]


def attribute(op: str, value: Any = None, name: str = "country") -> dict[str, Any]:
    return {"kind": "attribute", "name": name, "op": op, **({} if value is None else {"value": value})}


def identity(op: str, value: Any = None, name: str = "email") -> dict[str, Any]:
    return {**attribute(op, value, name), "kind": "identity"}


def orders(measure: str, op: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"kind": "orders", "measure": measure, "op": op, "value": value, **more}


def event(name: str = "product viewed", **more: Any) -> dict[str, Any]:
    return {"kind": "event", "name": name, **more}


def messages(did: str, **more: Any) -> dict[str, Any]:
    return {"kind": "messages", "did": did, **more}


SPOKEN: tuple[tuple[dict[str, Any], str, str], ...] = (
    (attribute("is", "DE"), 'country is "DE"', 'country is not "DE"'),
    (attribute("is not", "DE"), 'country is not "DE"', 'country is "DE"'),
    (
        attribute("in", ["DE", "AT", "CH"]),
        'country is one of "DE", "AT" and "CH"',
        'country is none of "DE", "AT" and "CH"',
    ),
    (
        attribute("not in", ["DE", "AT"]),
        'country is none of "DE" and "AT"',
        'country is one of "DE" and "AT"',
    ),
    (attribute("in", ["DE"]), 'country is "DE"', 'country is not "DE"'),
    (
        attribute("in", [1, 2, 3, 4, 5, 6, 7, 8]),
        "country is one of 1, 2, 3, 4, 5 and 3 others",
        "country is none of 1, 2, 3, 4, 5 and 3 others",
    ),
    (attribute("contains", "e"), 'country contains "e"', 'country does not contain "e"'),
    (attribute("does not contain", "e"), 'country does not contain "e"', 'country contains "e"'),
    (attribute("starts with", "D"), 'country starts with "D"', 'country does not start with "D"'),
    (attribute("ends with", "E"), 'country ends with "E"', 'country does not end with "E"'),
    (attribute("matches", "^D"), 'country matches "^D"', 'country does not match "^D"'),
    (attribute(">", 30, "age"), "age is more than 30", "age is not more than 30"),
    (attribute(">=", 30, "age"), "age is at least 30", "age is not at least 30"),
    (attribute("<", 30, "age"), "age is less than 30", "age is not less than 30"),
    (attribute("<=", 12.5, "age"), "age is at most 12.5", "age is not at most 12.5"),
    (attribute(">", "m", "name"), 'name sorts after "m"', 'name does not sort after "m"'),
    (attribute("<=", "m", "name"), 'name sorts at or before "m"', 'name does not sort at or before "m"'),
    (attribute("between", [18, 30], "age"), "age is from 18 to 30", "age is not from 18 to 30"),
    (
        attribute("between", ["a", "f"], "name"),
        'name sorts from "a" to "f"',
        'name does not sort from "a" to "f"',
    ),
    (attribute("exists"), "country has a value", "country has no value"),
    (attribute("does not exist"), "country has no value", "country has a value"),
    (attribute("is", True, "vip"), "vip is true", "vip is not true"),
    (attribute("is", "x", 'odd "name"'), '"odd \\"name\\"" is "x"', '"odd \\"name\\"" is not "x"'),
    (
        attribute("before", "2026-05-03", "joined"),
        "joined is before 3 May 2026",
        "joined is not before 3 May 2026",
    ),
    (
        attribute("on or after", "2026-05-03", "joined"),
        "joined is on 3 May 2026 or later",
        "joined is not on 3 May 2026 or later",
    ),
    (
        attribute("on or after", "30 days ago", "joined"),
        "joined is 30 days ago or later",
        "joined is not 30 days ago or later",
    ),
    (attribute("before", "today", "joined"), "joined is before today", "joined is not before today"),
    (
        attribute("anniversary in", 0, "birthday"),
        "birthday comes round today",
        "birthday does not come round today",
    ),
    (
        attribute("anniversary in", 3, "birthday"),
        "birthday comes round in 3 days",
        "birthday does not come round in 3 days",
    ),
    (
        attribute("anniversary in", -1, "birthday"),
        "birthday came round 1 day ago",
        "birthday did not come round 1 day ago",
    ),
    (
        attribute("anniversary within", 7, "birthday"),
        "birthday comes round within 7 days",
        "birthday does not come round within 7 days",
    ),
    (
        attribute("includes", "jazz", "interests"),
        '"jazz" is among interests',
        '"jazz" is not among interests',
    ),
    (
        attribute("does not include", "jazz", "interests"),
        '"jazz" is not among interests',
        '"jazz" is among interests',
    ),
    (
        identity("is", "ada@example.com"),
        'an email address is "ada@example.com"',
        'no email address is "ada@example.com"',
    ),
    (
        identity("ends with", "@example.com"),
        'an email address ends with "@example.com"',
        'no email address ends with "@example.com"',
    ),
    (identity("does not contain", "+"), 'no email address contains "+"', 'an email address contains "+"'),
    (identity("exists", None, "phone"), "has a phone number", "has no phone number"),
    (identity("does not exist", None, "user_id"), "has no user ID", "has a user ID"),
    (
        identity("in", ["r1", "r2"], "user_id"),
        'a user ID is one of "r1" and "r2"',
        'no user ID is one of "r1" and "r2"',
    ),
    (
        identity("not in", ["r1", "r2"], "anonymous_id"),
        'no anonymous ID is one of "r1" and "r2"',
        'an anonymous ID is one of "r1" and "r2"',
    ),
    (
        {"kind": "known", "op": "before", "value": "1 year ago"},
        "became known more than 1 year ago",
        "did not become known more than 1 year ago",
    ),
    (
        {"kind": "known", "op": "on or after", "value": "2026-05-03"},
        "became known on 3 May 2026 or later",
        "did not become known on 3 May 2026 or later",
    ),
    (orders("count", ">=", 1), "bought something", "never bought anything"),
    (orders("count", "is", 0), "never bought anything", "bought something"),
    (
        orders("count", ">=", 2, window=LATELY),
        "placed at least 2 orders in the last 30 days",
        "placed fewer than 2 orders in the last 30 days",
    ),
    (
        orders("count", "<", 3, currency="EUR"),
        "placed fewer than 3 orders in EUR",
        "placed at least 3 orders in EUR",
    ),
    (orders("count", "is", 2), "placed exactly 2 orders", "did not place exactly 2 orders"),
    (
        orders("count", ">=", 1, products=["LP-1", "LP-2"]),
        'placed an order with one of "LP-1" and "LP-2"',
        'placed no order with one of "LP-1" and "LP-2"',
    ),
    (
        orders("count", "is", 0, products=["LP-1"], window=LATELY),
        'placed no order with "LP-1" in the last 30 days',
        'placed an order with "LP-1" in the last 30 days',
    ),
    (orders("total", ">=", 100), "spent at least $100", "spent less than $100"),
    (
        orders("total", "<", "1250.50", currency="EUR"),
        "spent less than €1,250.50",
        "spent at least €1,250.50",
    ),
    (
        orders("total", ">", 100, products=["LP-1"]),
        'spent more than $100 on orders with "LP-1"',
        'spent at most $100 on orders with "LP-1"',
    ),
    (orders("total", "is", 100), "spent exactly $100", "did not spend exactly $100"),
    (orders("total", "<=", 100, currency="SEK"), "spent at most 100 SEK", "spent more than 100 SEK"),
    (
        orders("average", ">=", 50),
        "has an average order of at least $50",
        "has no average order of at least $50",
    ),
    (
        orders("largest", ">", 200, window=LATELY),
        "has a largest order in the last 30 days of more than $200",
        "has no largest order in the last 30 days of more than $200",
    ),
    (
        orders("first", "on or after", "30 days ago"),
        "the first order was in the last 30 days",
        "has no first order in the last 30 days",
    ),
    (
        orders("first", "before", "2026-05-03"),
        "the first order was before 3 May 2026",
        "bought nothing before 3 May 2026",
    ),
    (
        orders("last", "before", "180 days ago"),
        "the last order was more than 180 days ago",
        "has no last order more than 180 days ago",
    ),
    (
        orders("last", "on or after", "2026-05-03", window={"before": "2026-06-01"}),
        "the last order before 1 June 2026 was on 3 May 2026 or later",
        "has no last order before 1 June 2026 that was on 3 May 2026 or later",
    ),
    (
        orders("last", "on or after", "30 days ago", products=["LP-1"]),
        'the last order with "LP-1" was in the last 30 days',
        'placed no order with "LP-1" in the last 30 days',
    ),
    (event(), 'did "product viewed"', 'never did "product viewed"'),
    (event(op="is", value=0), 'never did "product viewed"', 'did "product viewed"'),
    (
        event(op="is", value=0, window=LATELY),
        'did not do "product viewed" in the last 30 days',
        'did "product viewed" in the last 30 days',
    ),
    (
        event(value=3, window=LATELY, where=SHOES),
        'did "product viewed" at least 3 times in the last 30 days (where category is "shoes")',
        'did "product viewed" fewer than 3 times in the last 30 days (where category is "shoes")',
    ),
    (
        event(op="<", value=2),
        'did "product viewed" fewer than 2 times',
        'did "product viewed" at least 2 times',
    ),
    (
        event(measure="sum", property="price", op=">=", value=100, window=LATELY),
        'price of "product viewed" in the last 30 days adds up to at least 100',
        'price of "product viewed" in the last 30 days does not add up to at least 100',
    ),
    (
        event(measure="average", property="price", op=">", value=10, window=LATELY),
        'price of "product viewed" in the last 30 days averages more than 10',
        'price of "product viewed" in the last 30 days does not average more than 10',
    ),
    (
        event(measure="largest", property="price", value=10, window=LATELY),
        'the largest price of "product viewed" in the last 30 days is at least 10',
        'the largest price of "product viewed" in the last 30 days is not at least 10',
    ),
    (
        event(measure="last", op="before", value="7 days ago"),
        'the last "product viewed" was more than 7 days ago',
        'has no last "product viewed" more than 7 days ago',
    ),
    (
        event(measure="first", op="on or after", value="7 days ago"),
        'the first "product viewed" was in the last 7 days',
        'has no first "product viewed" in the last 7 days',
    ),
    (
        event(measure="last", op="before", value="7 days ago", window=LATELY),
        'the last "product viewed" in the last 30 days was more than 7 days ago',
        'has no last "product viewed" in the last 30 days that was more than 7 days ago',
    ),
    (
        {
            "kind": "sequence",
            "steps": [{"name": "cart left"}, {"name": "order placed", "within": "3 days"}],
            "window": {"after": "60 days ago"},
        },
        'did "cart left" and then "order placed" within 3 days, all in the last 60 days',
        'did not do "cart left" and then "order placed" within 3 days, all in the last 60 days',
    ),
    (
        {
            "kind": "sequence",
            "steps": [{"name": "a", "where": SHOES}, {"name": "b", "within": "1 hours"}],
            "window": {"after": "today"},
        },
        'did "a" (where category is "shoes") and then "b" within 1 hour, all today',
        'did not do "a" (where category is "shoes") and then "b" within 1 hour, all today',
    ),
    (
        messages("opened", window=LATELY),
        "opened a message in the last 30 days",
        "opened no message in the last 30 days",
    ),
    (
        messages("received", channel="email", op="is", value=0, window=LATELY),
        "received no email in the last 30 days",
        "received an email in the last 30 days",
    ),
    (
        messages("bounced", channel="push", window=LATELY),
        "had a push message bounce in the last 30 days",
        "had no push message bounce in the last 30 days",
    ),
    (
        messages("opened", channel="whatsapp", value=2, window=LATELY),
        "opened at least 2 WhatsApp messages in the last 30 days",
        "opened fewer than 2 WhatsApp messages in the last 30 days",
    ),
    (
        messages("opened", campaign_id=str(SPRING)),
        'opened a message of the campaign "Spring letter"',
        'opened no message of the campaign "Spring letter"',
    ),
    (
        messages("clicked", flow_id=str(WELCOME), op="<", value=2),
        'clicked fewer than 2 messages of the flow "Welcome"',
        'clicked at least 2 messages of the flow "Welcome"',
    ),
    (
        {"kind": "message", "did": "opened", "step": "welcome"},
        'opened the message of the step "welcome"',
        'did not open the message of the step "welcome"',
    ),
    (
        {"kind": "consent", "purpose": "email", "state": "granted"},
        "agreed to email",
        "did not agree to email",
    ),
    ({"kind": "consent", "purpose": "email", "state": "denied"}, "declined email", "did not decline email"),
    (
        {"kind": "consent", "purpose": "email", "state": "unknown"},
        "never decided on email",
        "decided on email",
    ),
    (
        {"kind": "topic", "topic_id": str(TOPIC), "state": "granted"},
        'agreed to the topic "Jazz"',
        'did not agree to the topic "Jazz"',
    ),
    (
        {"kind": "topic", "topic_id": str(TOPIC), "state": "denied"},
        'declined the topic "Jazz"',
        'did not decline the topic "Jazz"',
    ),
    (
        {"kind": "topic", "topic_id": str(TOPIC), "state": "unknown"},
        'never decided on the topic "Jazz"',
        'decided on the topic "Jazz"',
    ),
    ({"kind": "suppressed", "channel": "sms"}, "is suppressed for SMS", "is not suppressed for SMS"),
    (
        {"kind": "suppressed", "channel": "email", "reason": "hard bounce"},
        "is suppressed for email after a bounce",
        "is not suppressed for email after a bounce",
    ),
    (
        {"kind": "suppressed", "channel": "whatsapp", "reason": "complained"},
        "is suppressed for WhatsApp after a complaint",
        "is not suppressed for WhatsApp after a complaint",
    ),
    ({"kind": "list", "list_id": str(VIP)}, 'is on the list "VIP"', 'is not on the list "VIP"'),
    (
        {"kind": "list", "list_id": str(NOWHERE)},
        f"is on the unknown list {NOWHERE}",
        f"is not on the unknown list {NOWHERE}",
    ),
    ({"kind": "tag", "tag": "press"}, 'is tagged "press"', 'is not tagged "press"'),
    (
        {"kind": "segment", "segment_id": str(NEWS)},
        'is in the segment "Readers"',
        'is not in the segment "Readers"',
    ),
    ({"kind": "flow", "flow_id": str(WELCOME)}, 'is in the flow "Welcome"', 'is not in the flow "Welcome"'),
    (
        {"kind": "flow", "flow_id": str(WELCOME), "step": "a day"},
        'is in the flow "Welcome" at the step "a day"',
        'is not in the flow "Welcome" at the step "a day"',
    ),
    (
        {"kind": "flow", "flow_id": str(WELCOME), "place": "finished"},
        'has finished the flow "Welcome"',
        'has not finished the flow "Welcome"',
    ),
    (
        {"kind": "flow", "flow_id": str(WELCOME), "place": "entered"},
        'has entered the flow "Welcome"',
        'has never entered the flow "Welcome"',
    ),
    ({"kind": "share", "percent": 12.5}, "is in the random 12.5%", "is not in the random 12.5%"),
    (
        {"kind": "share", "percent": 10, "salt": "spring"},
        'is in the random 10% called "spring"',
        'is not in the random 10% called "spring"',
    ),
)
