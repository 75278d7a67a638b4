"""The table of SendGrid's answers, row by row."""

import pytest

from channels.contract import Blame, OutcomeKind
from channels.line import NotHeard, NotWritten, rest
from channels.sendgrid_replies import at_fault, not_taken, outcome_of

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN


def said(message: str, field: str = "null") -> bytes:
    quoted = field if field == "null" else f'"{field}"'
    return f'{{"errors": [{{"message": "{message}", "field": {quoted}, "help": null}}]}}'.encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "blame"),
    [
        (200, b"", ACCEPTED, Blame.PROVIDER),
        (202, b"", ACCEPTED, Blame.PROVIDER),
        (400, said("The subject is required.", "subject"), REJECTED, Blame.MESSAGE),
        (400, b"Bad Request", REJECTED, Blame.MESSAGE),
        (400, said("The from object must be provided.", "from.email"), RETRY, Blame.PROVIDER),
        (400, said("Unknown pool.", "ip_pool_name"), RETRY, Blame.PROVIDER),
        (401, said("The provided authorization grant is invalid"), RETRY, Blame.PROVIDER),
        (401, said("Maximum credits exceeded"), RETRY, Blame.PROVIDER),
        (403, said("The from address does not match a verified Sender", "from"), RETRY, Blame.PROVIDER),
        (301, b"", RETRY, Blame.PROVIDER),
        (404, said("not found"), RETRY, Blame.PROVIDER),
        (405, b"", RETRY, Blame.PROVIDER),
        (408, b"", RETRY, Blame.PROVIDER),
        (413, said("payload too large"), REJECTED, Blame.MESSAGE),
        (429, said("too many requests"), RETRY, Blame.PROVIDER),
        (500, said("internal server error"), UNKNOWN, Blame.PROVIDER),
        (500, b"", UNKNOWN, Blame.PROVIDER),
        (500, b"<html>500</html>", UNKNOWN, Blame.PROVIDER),
        (500, b'{"errors": []}', UNKNOWN, Blame.PROVIDER),
        (500, b'{"errors": [{"message": "cut of', UNKNOWN, Blame.PROVIDER),
        (502, said("bad gateway"), UNKNOWN, Blame.PROVIDER),
        (503, said("The v3 Web API is not available"), RETRY, Blame.PROVIDER),
        (503, b"upstream connect error or disconnect/reset before headers", UNKNOWN, Blame.PROVIDER),
        (504, b"", UNKNOWN, Blame.PROVIDER),
        (204, b"", UNKNOWN, Blame.PROVIDER),
        (599, b"[]", UNKNOWN, Blame.PROVIDER),
    ],
)
def test_each_answer_means_one_thing(status: int, body: bytes, kind: OutcomeKind, blame: Blame) -> None:
    outcome = outcome_of(status, {}, body)

    assert (outcome.kind, outcome.blame) == (kind, blame)
    assert kind is ACCEPTED or outcome.reason
    assert outcome.calm == (status == 429)
    assert (outcome.retry_after is not None) == (kind is RETRY)
    assert outcome.suppress is None


@pytest.mark.parametrize("status", [401, 403, 404, 301])
def test_what_is_our_own_fault_says_so(status: int) -> None:
    assert str(outcome_of(status, {}, b"").reason).startswith("sender: ")


def test_a_yes_has_the_name_that_sendgrid_gave_the_call() -> None:
    assert outcome_of(202, {"x-message-id": "abc"}, b"").provider_id == "abc"


DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
RESET = "1772366417"  # Seventeen seconds later.


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "7", "x-ratelimit-reset": RESET, "date": DATE}, 7),
        ({"x-ratelimit-reset": RESET, "date": DATE}, 17),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:05 GMT", "date": DATE}, 5),
        ({"retry-after": "Sun, 01 Mar 2026 11:00:00 GMT", "date": DATE}, 0),
        ({"retry-after": "999999999"}, 86_400),
        ({"x-ratelimit-reset": RESET}, None),
        ({"retry-after": "soon", "date": DATE}, None),
        ({"retry-after": "²"}, None),
        ({"x-ratelimit-reset": "nan", "date": "yesterday"}, None),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_what_the_answer_says(headers: dict[str, str], seconds: float | None) -> None:
    assert rest(headers, "x-ratelimit-reset") == seconds
    assert outcome_of(429, headers, b"").retry_after == (60 if seconds is None else seconds)


def test_an_unavailable_api_that_says_when_has_taken_nothing() -> None:
    outcome = outcome_of(503, {"retry-after": "30"}, b"")

    assert (outcome.kind, outcome.retry_after) == (RETRY, 30)


@pytest.mark.parametrize(
    ("field", "places", "blame"),
    [
        ("personalizations.3.to.0.email", [3], Blame.RECIPIENT),
        ("personalizations[3].to[0].email", [3], Blame.RECIPIENT),
        ("personalizations.12.to", [12], Blame.RECIPIENT),
        ("personalizations.0", [0], Blame.RECIPIENT),
        ("personalizations.7.substitutions", [7], Blame.MESSAGE),
        ("personalizations.7.headers.X-A", [7], Blame.MESSAGE),
        ("personalizations", [], None),
        ("from.email", [], None),
    ],
)
def test_a_refusal_names_who_is_at_fault(field: str, places: list[int], blame: Blame | None) -> None:
    faults = at_fault(400, said("Does not contain a valid address.", field))

    assert list(faults) == places
    assert all(fault.kind is REJECTED and fault.blame is blame for fault in faults.values())


def test_only_a_400_names_anybody() -> None:
    assert not at_fault(500, said("no", "personalizations.3.to"))
    assert not at_fault(400, b"[]")


def test_a_call_without_an_answer_may_be_repeated_only_if_it_was_not_written() -> None:
    assert not_taken(NotWritten("It can't be reached.")).kind is RETRY
    assert not_taken(NotHeard("No answer in time.")).kind is UNKNOWN
