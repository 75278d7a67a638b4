"""What a call means for the inbox, and what is said when it means nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from domain import calls
from domain.arrivals import DEEPEST, Arrived, Refused, Rights, arrive, json_of, sent_time
from domain.calls import Call, Fault, Unreadable
from domain.events import EventKind

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE, SERVER = Rights(trusted=False), Rights(trusted=True)


def meant(kind: EventKind, rights: Rights = PAGE, **said: Any) -> Arrived:
    [call] = calls.single(orjson.dumps({"userId": "u", **said})).calls
    assert isinstance(call, Call)
    return arrive(call, kind, rights, NOW)


def fault(kind: EventKind, rights: Rights = PAGE, **said: Any) -> Fault:
    with pytest.raises(Refused) as refusal:
        meant(kind, rights, **said)
    return refusal.value.fault


def test_both_spellings_name_the_person_and_ours_wins() -> None:
    found = meant(EventKind.TRACK, user_id=7, anonymous_id="a", message_id=3, name="x")
    assert (found.user_id, found.anonymous_id, found.message_id) == ("7", "a", "3")


@pytest.mark.parametrize(("said", "kept"), [(7, "7"), (7.0, "7"), (1.5, "1.5"), (" u ", "u"), ("", None)])
def test_ids_are_text_however_they_are_written(said: Any, kept: str | None) -> None:
    assert meant(EventKind.TRACK, userId=said, email="ada@shop.example", name="x").user_id == kept


def test_addresses_meet_however_they_are_written() -> None:
    for said, kept in (
        ("ADA+Shop@Shop.Example", "ada+shop@shop.example"),
        ("ada@xn--mller-kva.example", "ada@müller.example"),
        ("ada@MÜLLER.example", "ada@müller.example"),
    ):
        assert meant(EventKind.TRACK, email=said, name="x").email == kept


def test_phones_are_kept_as_e164() -> None:
    assert meant(EventKind.TRACK, phone="+49 (170) 123-4567", name="x").phone == "+491701234567"


def test_a_name_in_the_traits_is_a_name_and_no_trait() -> None:
    traits = {"email": "ada@shop.example", "userId": "u", "anonymousId": None, "phone": "", "age": 36}
    found = meant(EventKind.IDENTIFY, userId=None, traits=traits)
    assert (found.email, found.user_id, found.anonymous_id) == ("ada@shop.example", "u", None)
    assert found.properties == b'{"age":36}'
    assert found.doubts is None


def test_two_names_of_a_kind_are_a_doubt_and_the_calls_own_is_taken() -> None:
    found = meant(EventKind.IDENTIFY, email="ada@shop.example", traits={"email": "eve@shop.example"})
    assert found.email == "ada@shop.example"
    assert [each.pointer for each in found.doubts or ()] == ["/traits/email"]
    again = meant(EventKind.IDENTIFY, email="ada@shop.example", traits={"email": "ADA@shop.example"})
    assert again.doubts is None


def test_a_page_has_its_name_among_its_properties() -> None:
    found = meant(EventKind.PAGE, name="Pricing", category="Docs", properties={"path": "/p"})
    assert found.name == "page viewed"
    assert orjson.loads(found.properties) == {"path": "/p", "name": "Pricing", "category": "Docs"}


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
@pytest.mark.parametrize("days", [-400, -1, 0, 1, 400])
def test_a_clock_that_is_wrong_is_put_right(days: int, seconds: int) -> None:
    wrong = NOW + timedelta(days=days)
    said = (wrong + timedelta(seconds=seconds)).isoformat()
    [call] = calls.single(orjson.dumps({"userId": "u", "name": "x", "timestamp": said})).calls
    assert isinstance(call, Call)
    found = arrive(call, EventKind.TRACK, SERVER, NOW, sent_at=wrong)
    assert found.occurred_at == NOW + timedelta(seconds=min(seconds, 0))
    history = arrive(call, EventKind.TRACK, SERVER, NOW, sent_at=wrong, historical=True)
    assert history.occurred_at == min(NOW, wrong + timedelta(seconds=seconds))


@given(some.text(), some.datetimes(timezones=some.just(UTC)))
def test_no_time_breaks_anything_and_nothing_happens_in_the_future(text: str, sent_at: datetime) -> None:
    for said in (text, sent_at.isoformat(), f"{text}2026-03-01"):
        call = Call(user_id="u", name="x", timestamp=said)
        try:
            found = arrive(call, EventKind.TRACK, PAGE, NOW, sent_at=sent_at)
        except Refused as refusal:
            where = refusal.fault.pointer
        else:
            where = "/timestamp"
            assert datetime(1970, 1, 1, tzinfo=UTC) <= found.occurred_at <= NOW
        assert where == "/timestamp"


def test_a_clock_that_can_not_be_told_is_taken_as_right() -> None:
    assert sent_time("soon") is None
    assert sent_time(None) is None
    assert sent_time(" 2026-03-01T12:00:00.000Z ") == NOW


def test_consents_are_for_known_purposes_and_a_page_can_only_deny() -> None:
    assert (
        meant(EventKind.IDENTIFY, consent={"email": "denied", "sms": None}).consents == b'{"email":"denied"}'
    )
    assert fault(EventKind.IDENTIFY, consent={"email": "granted"}).pointer == "/consent/email"
    assert (
        fault(EventKind.IDENTIFY, consent={"carrier pigeon": "denied"}).pointer == "/consent/carrier pigeon"
    )
    assert fault(EventKind.PAGE, consents={"email": "denied"}).pointer == "/consent"
    granted = meant(EventKind.IDENTIFY, SERVER, consents={"email": "granted"})
    assert granted.consents == b'{"email":"granted"}'


def test_what_is_ours_to_say_nobody_says_for_us() -> None:
    for rights in (PAGE, SERVER):
        assert fault(EventKind.TRACK, rights, name="order placed").pointer == "/name"
        assert fault(EventKind.TRACK, rights, event="segment left").pointer == "/event"


def test_what_is_closed_to_pages_is_closed_in_each_kind_of_call() -> None:
    closed = Rights(False, frozenset({"x", "page viewed", "group joined"}), frozenset({"vip"}))
    assert fault(EventKind.TRACK, closed, name="x").pointer == "/name"
    assert fault(EventKind.PAGE, closed).pointer == "/type"
    assert fault(EventKind.GROUP, closed, groupId="g").pointer == "/type"
    told = meant(EventKind.IDENTIFY, closed, traits={"a": 1, "vip": None})
    assert told.properties == b'{"a":1}'
    assert [each.pointer for each in told.left_out or ()] == ["/traits/vip"]
    assert meant(EventKind.SCREEN, closed).name == "screen viewed"


def test_an_alias_and_a_group_say_who_and_which() -> None:
    assert fault(EventKind.ALIAS).pointer == "/previousId"
    assert fault(EventKind.ALIAS, userId="", previousId="a").pointer == "/userId"
    assert fault(EventKind.GROUP).pointer == "/groupId"


values = some.recursive(
    some.one_of(some.none(), some.booleans(), some.integers(-(2**63), 2**63), some.text(max_size=5)),
    lambda inner: some.one_of(
        some.lists(inner, max_size=3), some.dictionaries(some.text(max_size=5), inner, max_size=3)
    ),
)


@given(some.dictionaries(some.text(max_size=5), values, max_size=5))
def test_json_without_a_flaw_comes_out_as_it_went_in(value: dict[str, Any]) -> None:
    try:
        text = json_of(value, "/properties")
    except Refused:
        assert any("\0" in each for each in strings(value))
    else:
        assert not any("\0" in each for each in strings(value))
        assert orjson.loads(text) == value


def strings(value: Any) -> list[str]:
    """All texts and keys in it."""
    match value:
        case str():
            return [value]
        case list():
            return [text for each in value for text in strings(each)]
        case dict():
            return [*value, *(text for each in value.values() for text in strings(each))]
    return []


def test_a_key_full_of_quotes_is_counted_whole() -> None:
    with pytest.raises(Refused, match="longer than 200"):
        json_of({'"' * 201: 1}, "/properties")


def test_brackets_in_a_text_are_no_levels() -> None:
    assert json_of({"a": "[" * 100 + "{" * 100}, "/properties")
    deepest: Any = 1
    for _ in range(DEEPEST - 1):
        deepest = [deepest]
    assert json_of({"a": deepest}, "/properties")
    with pytest.raises(Refused, match="nested too deeply"):
        json_of({"a": [deepest]}, "/properties")


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"email": 5}, "/email", "Send a text here, not a number."),
        ({"userId": True}, "/userId", "Send a text or a number here, not true or false."),
        ({"properties": []}, "/properties", "Send an object here, not a list."),
        ({"historical": "yes"}, "/historical", "Send true or false here, not a text."),
        ("x", "", "Send an object here, not a text."),
    ],
)
def test_a_wrong_type_is_said_in_words(body: Any, pointer: str, detail: str) -> None:
    with pytest.raises(Unreadable) as error:
        calls.single(orjson.dumps(body))
    assert error.value.fault == (pointer, detail)
    assert not error.value.malformed


def test_an_event_that_can_not_be_read_is_a_fault_in_its_place() -> None:
    sent = calls.batch(
        b'{"batch": [{"userId": "u"}, 5, {"email": "\\ud800"}], "writeKey": "k", "sentAt": "s"}'
    )
    assert [type(each) for each in sent.calls] == [Call, Fault, Fault]
    assert (sent.place, sent.key, sent.sent_at) == ("/batch", "k", "s")
    assert "half a character" in sent.calls[2].detail  # type: ignore[union-attr]


LARGE = "A number in this is larger than a double holds, which is 1.8e308."


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ('{"properties": {"n": 1e400}}', "/properties/n"),
        ('{"properties": {"a": 1, "b/c": [0, {"~": -1e400}], "d": 1e400}}', "/properties/b~1c/1/~0"),
        ('{"elsewhere": 1e400, "context": {"page": {"n": 1e400}}}', "/context/page/n"),
        ('{"properties": {"n": 1e400, "n": 1}}', "/properties"),
        ('{"properties": {"": 1e400}}', "/properties/"),
        ('{"userId": 1e400}', "/userId"),
    ],
)
def test_a_number_that_no_double_holds_is_pointed_at(body: str, pointer: str) -> None:
    with pytest.raises(Unreadable) as error:
        calls.single(body.encode())
    assert error.value.fault == (pointer, LARGE)


def test_what_names_a_call_is_seen_although_it_can_not_be_read() -> None:
    with pytest.raises(Unreadable) as error:
        calls.single(b'{"email": 5, "event": "x", "type": 7, "messageId": "m"}')
    seen = error.value.seen
    assert seen is not None
    assert (seen.type, seen.event, seen.message_id) == (None, "x", "m")

    sent = calls.batch(b'{"events": [{"name": "good"}, {"type": "page", "name": "x", "email": 5}, 7]}')
    assert {n: (each.type, each.name) for n, each in sent.seen.items()} == {1: ("page", "x")}


@pytest.mark.parametrize(
    ("name", "said", "good"),
    [
        ("time_zone", "Europe/Vienna", True),
        ("timeZone", "Mars/Base", False),
        ("timezone", 5, False),
        ("locale", "de_AT", True),
        ("locale", "english please", False),
        ("locale", "e", False),
        ("country", "at", True),
        ("country", "Austria", False),
        ("country", ["AT"], False),
        ("country", None, True),
    ],
)
def test_a_place_that_can_not_be_read_is_kept_as_an_attribute_and_noted(
    name: str, said: Any, good: bool
) -> None:
    told = meant(EventKind.IDENTIFY, traits={name: said})
    assert orjson.loads(told.properties) == {name: said}
    assert [each.pointer for each in told.left_out or ()] == ([] if good else [f"/traits/{name}"])


def test_traits_are_set_and_never_added_to() -> None:
    told = meant(EventKind.IDENTIFY, traits={"visits": {"$inc": 1}, "a/b": {"$append": "x"}, "city": "$inc"})
    assert orjson.loads(told.properties) == {"city": "$inc"}
    assert [each.pointer for each in told.left_out or ()] == ["/traits/visits", "/traits/a~1b"]
    assert all("PATCH /api/v1/profiles" in each.detail for each in told.left_out or ())
