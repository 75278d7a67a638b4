"""Amazon SES, as the lab plays it, through boto3."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest
from pydantic import ValidationError

from channels.contract import Attachment, Blame, Outcome, OutcomeKind
from channels.line import Patience
from channels.ses import KIND, Ses
from domain import templates
from domain.templates import Template
from lab.app import ProviderLab
from tests.channels.mail_support import (
    a_letter,
    a_world,
    an_account,
    an_envelope,
    envelopes,
    settings_of,
)
from tests.channels.test_mime import WORKSPACE

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN
KEYS = {"region": "eu-west-1", "access_key_id": "AKIALAB", "secret_access_key": "lab-secret"}
BRACES = templates.compile(
    Template(
        "{% raw %}{{subject}}{% endraw %}",
        "<p>{{ name }} {% raw %}{{v0}} {{{% endraw %}{{ name }}</p>",
        text="{% raw %}{{% endraw %}{{ name }}",
    ),
    workspace_name="Shop",
    postal_address="1 Main St",
    public_url="https://mail.example",
)


@asynccontextmanager
async def ses(url: str, *, patience: Patience | None = None, **settings: object) -> AsyncIterator[Ses]:
    chosen = settings_of(KIND, **{**KEYS, **settings})
    account = Ses(an_account(chosen), a_world({"ses": url}), patience=patience)
    try:
        yield account
    finally:
        await account.close()


def kinds(outcomes: list[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


async def test_fifty_people_are_one_call() -> None:
    async with ProviderLab() as lab, ses(lab.url) as account:
        outcomes = await account.send(a_letter(), envelopes(120))
        accepted = {one.own: one for one in lab.accepted("ses")}

    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    assert len({id(one.call) for one in accepted.values()}) == 3
    for envelope, outcome in zip(envelopes(120), outcomes, strict=True):
        one = accepted[str(envelope.id)]
        assert (one.recipient, one.id) == (envelope.address, outcome.provider_id)


async def test_everybody_gets_the_mail_that_the_letter_says_is_theirs() -> None:
    letter = a_letter()
    people = [
        an_envelope(1, "Ada & Söhne <b>"),
        an_envelope(2, 'Bob "B" \\ \n', tracked=False),
        an_envelope(3, "{{v0}}{{ v1 }}"),
        an_envelope(4, "x" * 190_000),
        an_envelope(5, "{}"),
    ]
    bill = Attachment("bill.pdf", "application/pdf", b"%PDF")
    async with ProviderLab() as lab, ses(lab.url, configuration_set="news") as account:
        outcomes = await account.send(letter, people)
        outcomes += await account.send(letter, [an_envelope(6, attachments=(bill,))])
        mails = {one.own: lab.content(one) for one in lab.accepted("ses")}

    assert kinds(outcomes) == [ACCEPTED] * 6
    for envelope in [*people, an_envelope(6)]:
        parts, mail = letter.parts(envelope), mails[str(envelope.id)]
        assert (mail["subject"], mail["html"], mail["text"]) == (parts.subject, parts.html, parts.text)
        assert mail["headers"] == {name: said for name, said in parts.headers if name != "Message-ID"}
        assert mail["from"] == "The Shop <news@shop.example>"
        assert mail["reply_to"] == ["help@shop.example"]
        assert mail["tags"] == {"mid": str(envelope.id), "workspace": str(WORKSPACE)}
        assert mail["configuration_set"] == "news"
    assert mails[str(UUID(int=6))]["attachments"] == ["bill.pdf"]


async def test_braces_of_a_letters_own_survive() -> None:
    people = [an_envelope(number, "Ada", compiled=BRACES) for number in (1, 2)]
    async with ProviderLab() as lab, ses(lab.url) as account:
        outcomes = await account.send(a_letter(BRACES), people)
        mails = sorted((one.own, lab.content(one)) for one in lab.accepted("ses"))

    assert kinds(outcomes) == [ACCEPTED] * 2
    for envelope, (_, mail) in zip(people, mails, strict=True):
        parts = a_letter(BRACES).parts(envelope)
        assert (mail["subject"], mail["html"], mail["text"]) == (parts.subject, parts.html, parts.text)


async def test_a_call_has_at_most_a_megabyte() -> None:
    people = [an_envelope(number, "ü" * 5_000) for number in range(1, 51)]
    async with ProviderLab() as lab, ses(lab.url) as account:
        outcomes = await account.send(a_letter(), people)
        calls = {id(one.call): one.call for one in lab.accepted("ses")}.values()

    assert kinds(outcomes) == [ACCEPTED] * 50
    assert 2 <= len(calls) < 25
    assert all(len(call.body) <= 1_000_000 for call in calls)


async def test_what_is_wrong_with_one_message_stops_no_other() -> None:
    people = [
        an_envelope(1, address="no address"),
        an_envelope(2)._replace(holes=()),
        an_envelope(3),
        an_envelope(4, address="ü@example.com"),
        an_envelope(5, address="ada@bücher.example"),
    ]
    async with ProviderLab() as lab, ses(lab.url) as account:
        outcomes = await account.send(a_letter(), people)

        assert len(lab.accepted()) == 2
    assert kinds(outcomes) == [REJECTED, REJECTED, ACCEPTED, REJECTED, ACCEPTED]
    assert [outcome.blame for outcome in outcomes[:2]] == [Blame.RECIPIENT, Blame.MESSAGE]


async def test_each_entry_has_its_own_outcome() -> None:
    async with ProviderLab() as lab, ses(lab.url) as account:
        lab.fail("ses", recipient="p3@*", code="MESSAGE_REJECTED", times=1)
        outcomes = await account.send(a_letter(), envelopes(5))

        assert len(lab.accepted()) == 4
    assert kinds(outcomes) == [ACCEPTED, ACCEPTED, REJECTED, ACCEPTED, ACCEPTED]


async def test_a_call_that_is_refused_because_of_some_is_halved_until_they_are_found() -> None:
    async with ProviderLab() as lab, ses(lab.url) as account:
        lab.fail("ses", recipient="p7@*", status=400)
        outcomes = await account.send(a_letter(), envelopes(20))

        assert len(lab.accepted()) == 19
    assert [number for number, one in enumerate(outcomes, 1) if one.kind is REJECTED] == [7]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"status": 429}, RETRY),
        ({"status": 400, "code": "AccountSuspendedException"}, RETRY),
        ({"status": 403}, RETRY),
        ({"status": 500}, UNKNOWN),
        ({"status": 503}, RETRY),
        ({"status": 503, "body": "<html>"}, UNKNOWN),
        ({"status": 200, "body": "<html>"}, UNKNOWN),
        ({"status": 200, "body": {}}, UNKNOWN),
        ({"cut": "before"}, UNKNOWN),
        ({"cut": "after"}, UNKNOWN),
        ({"hang": True}, UNKNOWN),
    ],
)
async def test_no_answer_makes_boto3_ask_again(fault: dict[str, object], kind: OutcomeKind) -> None:
    patience = Patience(call=2.0, connect=1.0) if "hang" in fault else None
    async with ProviderLab() as lab, ses(lab.url, patience=patience) as account:
        struck = lab.fail("ses", **fault)
        outcomes = await account.send(a_letter(), envelopes(3))

        assert struck.struck == 1
    assert kinds(outcomes) == [kind] * 3
    assert outcomes[0].calm == (fault.get("status") == 429)


async def test_calls_that_hang_do_not_hold_up_a_batch_for_long() -> None:
    people = [an_envelope(number, "{{") for number in range(1, 41)]
    patience = Patience(send=1.5, call=30, connect=1, begin=1.0)
    async with ProviderLab() as lab, ses(lab.url, patience=patience) as account:
        await account.check()  # Making the client takes longer than this patience.
        began = asyncio.get_running_loop().time()
        lab.fail("ses", hang=True)
        outcomes = await account.send(a_letter(), people)
        took = asyncio.get_running_loop().time() - began
        offered = lab.desk.record.offered["ses"]

    assert took < 4
    assert 1 <= offered <= kinds(outcomes).count(UNKNOWN) <= 24  # As many threads as there are.
    assert kinds(outcomes).count(RETRY) == 40 - kinds(outcomes).count(UNKNOWN)


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with ProviderLab() as lab:
        url = lab.url
    async with ses(url) as account:
        outcomes = await account.send(a_letter(), envelopes(3))

        assert "can't be reached" in str(await account.check())
    assert kinds(outcomes) == [RETRY] * 3


async def test_a_sender_whose_address_is_none_is_our_fault() -> None:
    async with ProviderLab() as lab, ses(lab.url) as account:
        outcomes = await account.send(a_letter(sender="nobody"), envelopes(2))

        assert not lab.accepted()
    assert all(str(outcome.reason).startswith("sender: ") for outcome in outcomes)


async def test_no_batch_is_no_call() -> None:
    async with ses("http://127.0.0.1:1") as account:
        assert await account.send(a_letter(), []) == []


async def test_a_check_asks_for_the_account() -> None:
    async with ProviderLab() as lab:
        async with ses(lab.url) as account:
            assert await account.check() is None
        async with ses(lab.url, secret_access_key="wrong-secret") as account:
            found = await account.check()

    assert found == "The secret does not belong to this access key; enter it anew (SignatureDoesNotMatch)."


@pytest.mark.parametrize(
    "wrong",
    [
        {"region": "evil.example/"},
        {"access_key_id": "AK IA"},
        {"secret_access_key": "two words"},
        {"topic_arn": "news"},
        {"configuration_set": "a b"},
    ],
)
def test_settings_that_can_not_be_right_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        settings_of(KIND, **{**KEYS, **wrong})


def test_an_account_shows_no_secret() -> None:
    account = KIND.open(an_account(settings_of(KIND, **KEYS)), a_world({}))

    assert account.capabilities is KIND.capabilities
    assert "lab-secret" not in repr(settings_of(KIND, **KEYS))
