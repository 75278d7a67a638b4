"""Mixmax, as the lab plays it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from channels.contract import Attachment, Blame, Outcome, OutcomeKind
from channels.mixmax import KIND, Mixmax, outcome_of
from lab.app import ProviderLab
from tests.channels.mail_support import (
    a_letter,
    a_world,
    an_account,
    an_envelope,
    envelopes,
    settings_of,
)

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN


@asynccontextmanager
async def mixmax(url: str, token: str = "lab-mixmax") -> AsyncIterator[Mixmax]:
    settings = settings_of(KIND, api_token=token)
    account = Mixmax(an_account(settings), a_world({"mixmax": url}))
    try:
        yield account
    finally:
        await account.close()


def kinds(outcomes: list[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


@pytest.mark.parametrize(
    ("status", "body", "kind", "blame"),
    [
        (200, b'{"_id": "5"}', ACCEPTED, Blame.PROVIDER),
        (202, b"", ACCEPTED, Blame.PROVIDER),
        (400, b'{"message": "no subject"}', REJECTED, Blame.MESSAGE),
        (400, b'{"message": "Invalid recipient"}', REJECTED, Blame.RECIPIENT),
        (422, b"[]", REJECTED, Blame.MESSAGE),
        (413, b"", REJECTED, Blame.MESSAGE),
        (408, b"", RETRY, Blame.PROVIDER),
        (429, b"", RETRY, Blame.PROVIDER),
        (401, b'{"message": "Invalid API token"}', RETRY, Blame.PROVIDER),
        (403, b"", RETRY, Blame.PROVIDER),
        (404, b"", RETRY, Blame.PROVIDER),
        (301, b"", RETRY, Blame.PROVIDER),
        (500, b'{"message": "oops"}', UNKNOWN, Blame.PROVIDER),
        (502, b"", UNKNOWN, Blame.PROVIDER),
        (503, b"", UNKNOWN, Blame.PROVIDER),
        (504, b"", UNKNOWN, Blame.PROVIDER),
        (599, b"", UNKNOWN, Blame.PROVIDER),
    ],
)
def test_each_answer_means_one_thing(status: int, body: bytes, kind: OutcomeKind, blame: Blame) -> None:
    outcome = outcome_of(status, {}, body)

    assert (outcome.kind, outcome.blame) == (kind, blame)
    assert outcome.calm == (status == 429)
    assert str(outcome.reason).startswith("sender: ") == (status in (301, 401, 403, 404))
    assert (outcome.retry_after is not None) == (kind is RETRY)


@pytest.mark.parametrize("status", [429, 503])
def test_it_is_obeyed_when_it_says_how_long(status: int) -> None:
    outcome = outcome_of(status, {"retry-after": "12"}, b"")

    assert (outcome.kind, outcome.retry_after) == (RETRY, 12)


async def test_each_message_is_a_call() -> None:
    letter = a_letter()
    async with ProviderLab() as lab, mixmax(lab.url) as account:
        outcomes = await account.send(letter, envelopes(3))
        accepted = lab.accepted("mixmax")
        mails = {one.recipient: lab.content(one) for one in accepted}

    assert kinds(outcomes) == [ACCEPTED] * 3
    assert all(outcome.provider_id for outcome in outcomes)
    for envelope in envelopes(3):
        mail, parts = mails[envelope.address], letter.parts(envelope)
        assert (mail["subject"], mail["html"]) == (parts.subject, parts.html)
        assert mail["from"] == "The Shop <news@shop.example>"


async def test_what_is_wrong_with_one_message_stops_no_other() -> None:
    people = [
        an_envelope(1, address="no address"),
        an_envelope(2)._replace(holes=()),
        an_envelope(3),
        an_envelope(4, attachments=(Attachment("a.txt", "text/plain", b"a"),)),
    ]
    async with ProviderLab() as lab, mixmax(lab.url) as account:
        outcomes = await account.send(a_letter(), people)

        assert len(lab.accepted()) == 1
    assert kinds(outcomes) == [REJECTED, REJECTED, ACCEPTED, REJECTED]
    assert [outcome.blame for outcome in outcomes[:2]] == [Blame.RECIPIENT, Blame.MESSAGE]


async def test_a_lost_answer_leaves_a_message_unknown() -> None:
    async with ProviderLab() as lab, mixmax(lab.url) as account:
        lab.lose_the_next_reply("mixmax")
        outcomes = await account.send(a_letter(), envelopes(1))

        assert len(lab.accepted()) == 1
    assert kinds(outcomes) == [UNKNOWN]


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with ProviderLab() as lab:
        url = lab.url
    async with mixmax(url) as account:
        assert kinds(await account.send(a_letter(), envelopes(2))) == [RETRY] * 2
        assert await account.check()


async def test_a_check_says_whether_the_token_is_good() -> None:
    async with ProviderLab() as lab:
        async with mixmax(lab.url) as account:
            assert await account.check() is None
        async with mixmax(lab.url, "wrong-token") as account:
            found = await account.check()

    assert "make a new one" in str(found)
    assert "wrong-token" not in str(found)


def test_it_ends_at_accepted_and_is_slow() -> None:
    assert not KIND.capabilities.webhooks
    assert KIND.capabilities.reports == ()
    assert KIND.rate == 2
