"""What an answer means where a provider's own table says nothing, and when to come again."""

import asyncio

import pytest
from httpx2 import (
    ConnectError,
    ConnectTimeout,
    LocalProtocolError,
    PoolTimeout,
    ReadError,
    ReadTimeout,
    RemoteProtocolError,
)

from channels import calls
from channels.contract import Blame, Envelope, Outcome, OutcomeKind
from tests.channels.calls_support import envelope

RETRY, REJECTED, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.REJECTED, OutcomeKind.UNKNOWN


@pytest.mark.parametrize(
    ("status", "kind", "blame"),
    [
        (400, REJECTED, Blame.MESSAGE),
        (422, REJECTED, Blame.MESSAGE),
        (401, RETRY, Blame.PROVIDER),
        (403, RETRY, Blame.PROVIDER),
        (404, RETRY, Blame.PROVIDER),
        (429, RETRY, Blame.PROVIDER),
        (302, UNKNOWN, Blame.PROVIDER),
        (500, UNKNOWN, Blame.PROVIDER),
        (503, UNKNOWN, Blame.PROVIDER),
    ],
)
def test_a_status_means_one_outcome(status: int, kind: OutcomeKind, blame: Blame) -> None:
    outcome = calls.by_status(status).outcome("why")

    assert (outcome.kind, outcome.blame) == (kind, blame)
    assert outcome.calm is (status == 429)
    assert (outcome.reason == "sender: why") is (status in (401, 403, 404))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectError("refused"), RETRY),
        (ConnectTimeout("too late"), RETRY),
        (PoolTimeout("busy"), RETRY),
        (ReadTimeout("too late"), UNKNOWN),
        (ReadError(""), UNKNOWN),
        (RemoteProtocolError("cut"), UNKNOWN),
        (TimeoutError(), UNKNOWN),
    ],
)
def test_only_what_never_reached_the_provider_is_sent_again(error: Exception, kind: OutcomeKind) -> None:
    assert calls.lost(error).kind is kind
    assert calls.lost(error).reason


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "99999999999999999999999"}, 86_400.0),
        ({"retry-after": "-7"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "soon"}, None),
        (
            {
                "retry-after": f"Thu, 26 Nov 2026 14:01:30 +{'9' * 14}",
                "date": "Thu, 26 Nov 2026 14:00:00 GMT",
            },
            None,
        ),
        (
            {"retry-after": f"Thu, 26 Nov {'9' * 20} 14:01:30 GMT", "date": "Thu, 26 Nov 2026 14:00:00 GMT"},
            None,
        ),
        ({"retry-after": "Thu, 26 Nov 2026 14:01:30 GMT"}, None),
        ({"retry-after": "Thu, 26 Nov 2026 14:01:30 GMT", "date": "Thu, 26 Nov 2026 14:00:00 GMT"}, 90.0),
        ({"retry-after": "Thu, 26 Nov 2026 13:00:00 GMT", "date": "Thu, 26 Nov 2026 14:00:00 GMT"}, 0.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_as_a_date(headers: dict[str, str], seconds: float | None) -> None:
    assert calls.retry_after(headers) == seconds


async def test_a_batch_goes_side_by_side_and_keeps_its_order() -> None:
    together = asyncio.Barrier(3)

    async def send(each: Envelope) -> Outcome:
        await together.wait()
        return Outcome(OutcomeKind.ACCEPTED, provider_id=each.address)

    batch = [envelope(number, f"n{number}") for number in (1, 2, 3)]
    async with asyncio.timeout(5):
        outcomes = await calls.side_by_side(batch, send)

    assert [outcome.provider_id for outcome in outcomes] == ["n1", "n2", "n3"]


def test_what_can_not_be_written_is_not_quoted() -> None:
    outcome = calls.lost(LocalProtocolError("Illegal header value b'Bearer secret\\n'"))

    assert outcome.kind is RETRY
    assert "secret" not in str(outcome.reason)
    assert "credentials" in str(outcome.reason)


def test_who_should_have_answered_has_the_blame() -> None:
    for error in (ConnectError("refused"), ReadTimeout("too late")):
        assert calls.lost(error).blame is Blame.PROVIDER
        assert calls.lost(error, Blame.RECIPIENT).blame is Blame.RECIPIENT
