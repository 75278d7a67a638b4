"""SendGrid, as the lab plays it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from channels.contract import Attachment, Blame, NotGenuine, Outcome, OutcomeKind, Report, ReportKind
from channels.line import Line, Patience
from channels.sendgrid import KIND, SIGNATURE, TIME, SendGrid
from domain import templates
from domain.templates import Template
from lab.app import ProviderLab
from lab.http_server import Answer, Asked, HttpServer
from tests.channels.mail_support import (
    a_hook,
    a_letter,
    a_world,
    an_account,
    an_envelope,
    envelopes,
    settings_of,
)
from tests.channels.smtp_support import certified
from tests.channels.test_mime import WORKSPACE

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ODD = templates.compile(
    Template("^ ` ~ |", "<p>{{ name }} ^ ` ~ |</p>", text="^ ` ~ |"),
    workspace_name="Shop",
    postal_address="1 Main St",
    public_url="https://mail.example",
)


@asynccontextmanager
async def sendgrid(url: str, **settings: object) -> AsyncIterator[SendGrid]:
    chosen = settings_of(KIND, **{"api_key": "SG.lab", **settings})
    account = SendGrid(an_account(chosen), a_world({"sendgrid": url}))
    try:
        yield account
    finally:
        await account.close()


def kinds(outcomes: list[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


async def test_a_thousand_people_are_one_call() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(), envelopes(1000))
        accepted = lab.accepted("sendgrid")

    assert {outcome.kind for outcome in outcomes} == {ACCEPTED}
    assert len({outcome.provider_id for outcome in outcomes}) == 1
    assert [one.own for one in accepted] == [str(UUID(int=number)) for number in range(1, 1001)]
    assert [one.recipient for one in accepted] == [f"p{number}@example.com" for number in range(1, 1001)]
    assert len({id(one.call) for one in accepted}) == 1


async def test_everybody_gets_the_mail_that_the_letter_says_is_theirs() -> None:
    letter = a_letter()
    people = [
        an_envelope(1, "Ada & Söhne <b>"),
        an_envelope(2, "Bob", tracked=False),
        an_envelope(3, "^0-^1-^3-"),
        an_envelope(4, "x" * 20_000),
        an_envelope(5, "{{ name }} -name- %name%"),
    ]
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(letter, people)
        mails = {one.own: lab.content(one) for one in lab.accepted("sendgrid")}

    assert kinds(outcomes) == [ACCEPTED] * 5
    for envelope in people:
        parts, mail = letter.parts(envelope), mails[str(envelope.id)]
        assert (mail["subject"], mail["html"], mail["text"]) == (parts.subject, parts.html, parts.text)
        assert mail["headers"] == dict(parts.headers)
        assert mail["from"] == {"email": "news@shop.example", "name": "The Shop"}
        assert mail["reply_to"] == "help@shop.example"
        assert mail["custom_args"] == {
            "campanile_message": str(envelope.id),
            "campanile_workspace": str(WORKSPACE),
        }


async def test_a_letter_with_all_marks_that_tags_begin_with_goes_to_each_alone() -> None:
    people = [an_envelope(number, "Ada", compiled=ODD) for number in (1, 2)]
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(ODD), people)
        mails = [lab.content(one) for one in lab.accepted("sendgrid")]

    assert kinds(outcomes) == [ACCEPTED] * 2
    assert [mail["text"] for mail in mails] == [a_letter(ODD).parts(each).text for each in people]


async def test_an_address_that_is_there_twice_goes_into_two_calls() -> None:
    people = [an_envelope(1, address="ada@example.com"), an_envelope(2, address="Ada@Example.com")]
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(), people)
        accepted = lab.accepted("sendgrid")

    assert kinds(outcomes) == [ACCEPTED] * 2
    assert len({id(one.call) for one in accepted}) == 2


async def test_files_go_along() -> None:
    bill = Attachment("bill.pdf", "application/pdf", b"%PDF")
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(), [an_envelope(1, attachments=(bill,))])
        (accepted,) = lab.accepted("sendgrid")
        mail = lab.content(accepted)

    assert kinds(outcomes) == [ACCEPTED]
    assert mail["attachments"] == ["bill.pdf"]
    assert "Dear Ada" in mail["text"]


async def test_a_message_that_is_too_large_is_refused_without_a_call() -> None:
    film = Attachment("film.mp4", "video/mp4", bytes(23_000_000))
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        (outcome,) = await account.send(a_letter(), [an_envelope(1, attachments=(film,))])

        assert not lab.accepted()
    assert (outcome.kind, outcome.blame) == (REJECTED, Blame.MESSAGE)


async def test_what_is_wrong_with_one_message_stops_no_other() -> None:
    people = [
        an_envelope(1, address="no address"),
        an_envelope(2)._replace(holes=()),
        an_envelope(3),
        an_envelope(4, address="ü@example.com"),
        an_envelope(5, address="ada@bücher.example"),
    ]
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(), people)
        accepted = lab.accepted()

    assert kinds(outcomes) == [REJECTED, REJECTED, ACCEPTED, REJECTED, ACCEPTED]
    assert [outcome.blame for outcome in outcomes[:2]] == [Blame.RECIPIENT, Blame.MESSAGE]
    assert [one.recipient for one in accepted] == ["p3@example.com", "ada@xn--bcher-kva.example"]


async def test_who_is_at_fault_is_refused_and_the_others_are_accepted_once() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.fail("sendgrid", recipient="p3@*", partial=1)
        lab.fail("sendgrid", recipient="p7@*", partial=1)
        outcomes = await account.send(a_letter(), envelopes(10))
        accepted = lab.accepted()

    refused = [number for number, outcome in enumerate(outcomes, 1) if outcome.kind is REJECTED]
    assert refused == [3, 7]
    assert outcomes[2].blame is Blame.RECIPIENT
    assert sorted(int(one.recipient[1:].partition("@")[0]) for one in accepted) == [1, 2, 4, 5, 6, 8, 9, 10]


async def test_a_call_in_which_ever_more_are_at_fault_is_put_off() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.fail("sendgrid", partial=1)
        outcomes = await account.send(a_letter(), envelopes(10))

        assert not lab.accepted()
    assert kinds(outcomes) == [REJECTED] * 5 + [RETRY] * 5
    assert outcomes[9].blame is Blame.MESSAGE


async def test_a_call_that_is_too_large_is_split() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.fail("sendgrid", status=413, times=3)
        outcomes = await account.send(a_letter(), envelopes(8))
        accepted = lab.accepted()

    assert kinds(outcomes) == [ACCEPTED] * 8
    assert len({id(one.call) for one in accepted}) == 4


async def test_too_many_calls_make_us_rest() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.fail("sendgrid", status=429, headers={"Retry-After": "3"})
        outcomes = await account.send(a_letter(), envelopes(2))

    assert kinds(outcomes) == [RETRY] * 2
    assert (outcomes[0].retry_after, outcomes[0].calm) == (3, True)


async def test_no_room_at_the_door_is_a_no_and_an_error_behind_it_is_not() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.fail("sendgrid", status=503, times=1)
        lab.fail("sendgrid", status=500, keep=True, times=1)
        at_the_door = await account.send(a_letter(), envelopes(1))
        behind_it = await account.send(a_letter(), envelopes(1))

    assert kinds(at_the_door) == [RETRY]
    assert kinds(behind_it) == [UNKNOWN]


async def test_a_lost_answer_leaves_the_messages_unknown_and_nothing_is_sent_again() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        lab.lose_the_next_reply("sendgrid")
        outcomes = await account.send(a_letter(), envelopes(3))

        assert len(lab.accepted()) == 3
    assert kinds(outcomes) == [UNKNOWN] * 3


async def test_where_nobody_listens_nothing_was_sent() -> None:
    async with ProviderLab() as lab:
        url = lab.url
    async with sendgrid(url) as account:
        outcomes = await account.send(a_letter(), envelopes(3))

        assert await account.check()
    assert kinds(outcomes) == [RETRY] * 3


async def test_a_server_with_a_certificate_of_another_world_gets_nothing() -> None:
    heard: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0, ssl=certified()) as server:
        port = server.sockets[0].getsockname()[1]
        async with sendgrid(f"https://127.0.0.1:{port}") as account:
            outcomes = await account.send(a_letter(), envelopes(1))

    assert kinds(outcomes) == [RETRY]
    assert not heard


async def test_a_sender_whose_address_is_none_is_our_fault() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        outcomes = await account.send(a_letter(sender="nobody"), envelopes(2))

        assert not lab.accepted()
    assert kinds(outcomes) == [RETRY] * 2
    assert all(str(outcome.reason).startswith("sender: ") for outcome in outcomes)


async def test_no_batch_is_no_call() -> None:
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        assert await account.send(a_letter(), []) == []


@pytest.mark.parametrize(
    ("key", "says"), [("SG.lab", None), ("SG.reader", "Mail Send"), ("SG.nobody", "Mail Send")]
)
async def test_a_check_says_whether_the_key_may_send(key: str, says: str | None) -> None:
    async with ProviderLab() as lab, sendgrid(lab.url, api_key=key) as account:
        found = await account.check()

    assert found is None if says is None else says in str(found)
    assert key not in str(found)


async def test_options_of_the_account_are_in_each_call() -> None:
    heard: list[bytes] = []

    async def answer(asked: Asked) -> Answer:
        heard.append(asked.body)
        return Answer(202)

    async with HttpServer(answer) as server, sendgrid(server.url, ip_pool="news", sandbox=True) as account:
        await account.send(a_letter(), envelopes(1))

    said = json.loads(heard[0])
    assert said["ip_pool_name"] == "news"
    assert said["mail_settings"] == {"sandbox_mode": {"enable": True}}
    assert said["tracking_settings"]["click_tracking"] == {"enable": False, "enable_text": False}
    assert said["tracking_settings"]["open_tracking"] == {"enable": False}


async def test_calls_that_hang_do_not_hold_up_a_batch_for_long() -> None:
    people = [an_envelope(number, "x" * 11_000) for number in range(1, 41)]
    began = asyncio.get_running_loop().time()
    async with ProviderLab() as lab, sendgrid(lab.url) as account:
        await account.line.close()
        account.line = Line(
            lab.url, {"Authorization": "Bearer SG.lab"}, patience=Patience(send=1.5, begin=1.0)
        )
        lab.fail("sendgrid", hang=True)
        outcomes = await account.send(a_letter(), people)
    took = asyncio.get_running_loop().time() - began

    assert took < 3
    assert 1 <= kinds(outcomes).count(UNKNOWN) <= 8  # As many connections as there are.
    assert kinds(outcomes).count(RETRY) == 40 - kinds(outcomes).count(UNKNOWN)


# Webhooks.

SIGNER = ec.generate_private_key(ec.SECP256R1())
KEY = base64.b64encode(
    SIGNER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def signed(body: bytes, at: datetime = NOW, by: ec.EllipticCurvePrivateKey = SIGNER) -> dict[str, str]:
    moment = str(int(at.timestamp()))
    signature = by.sign(moment.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {TIME: moment, SIGNATURE: base64.b64encode(signature).decode()}


async def test_a_webhook_that_sendgrid_signed_is_believed() -> None:
    body = '[{"email":"ü@example.com"}]'.encode()
    async with sendgrid("http://127.0.0.1:1", webhook_key=KEY) as account:
        assert await account.verify(a_hook(body, signed(body)), NOW) is None


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"[]", {}),
        (b"[]", {TIME: "now", SIGNATURE: "x"}),
        (b"[]", {**signed(b"[]"), SIGNATURE: "no base64"}),
        (b"[]", {**signed(b"[]"), SIGNATURE: ""}),
        (b"[1]", signed(b"[]")),
        (b"[]", signed(b"[]", NOW - timedelta(minutes=6))),
        (b"[]", signed(b"[]", NOW + timedelta(minutes=6))),
        (b"[]", {**signed(b"[]"), TIME: str(int(NOW.timestamp()) + 1)}),
        (b"[]", signed(b"[]", by=ec.generate_private_key(ec.SECP256R1()))),
        (b"\xff", signed(b"\xff")),
        (b"[]", {**signed(b"[]"), TIME: "²²²"}),
    ],
)
async def test_a_webhook_of_anybody_elses_is_not(body: bytes, headers: dict[str, str]) -> None:
    async with sendgrid("http://127.0.0.1:1", webhook_key=KEY) as account:
        with pytest.raises(NotGenuine):
            await account.verify(a_hook(body, headers), NOW)


async def test_without_a_key_no_webhook_is_believed() -> None:
    async with sendgrid("http://127.0.0.1:1") as account:
        with pytest.raises(NotGenuine, match="verification key"):
            await account.verify(a_hook(b"[]", signed(b"[]")), NOW)


def test_a_key_that_is_none_is_refused_when_it_is_entered() -> None:
    with pytest.raises(ValidationError, match="copy it whole"):
        settings_of(KIND, api_key="SG.lab", webhook_key="abc")
    with pytest.raises(ValidationError, match="as it was shown"):
        settings_of(KIND, api_key="SG.\nX-Other: 1")


def event(name: str, **more: object) -> dict[str, object]:
    return {
        "event": name,
        "email": "ada@example.com",
        "timestamp": int(NOW.timestamp()),
        "sg_event_id": f"{name}-1",
        "sg_message_id": "abc.recvd-1",
        "campanile_message": str(UUID(int=5)),
        **more,
    }


async def reports(*events: object) -> list[Report]:
    async with sendgrid("http://127.0.0.1:1", webhook_key=KEY) as account:
        return account.reports(a_hook(json.dumps(events).encode()))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (event("processed"), ReportKind.ACCEPTED),
        (event("deferred", response="450 later"), ReportKind.DEFERRED),
        (event("delivered", response="250 OK"), ReportKind.DELIVERED),
        (event("bounce", type="bounce", status="5.1.1", reason="550 unknown"), ReportKind.HARD_BOUNCE),
        (event("bounce", type="bounce", status="5.0.0"), ReportKind.HARD_BOUNCE),
        (event("bounce", type="bounce", status="5.7.1"), ReportKind.FAILED),
        (event("bounce", type="bounce", bounce_classification="Reputation"), ReportKind.FAILED),
        (event("bounce", type="blocked", status="5.7.26"), ReportKind.FAILED),
        (event("bounce", type="blocked", status="4.2.1"), ReportKind.SOFT_BOUNCE),
        (event("bounce", type="blocked", status="5.2.2"), ReportKind.SOFT_BOUNCE),
        (event("bounce", type="blocked", bounce_classification="Content"), ReportKind.FAILED),
        (event("dropped", reason="Bounced Address"), ReportKind.HARD_BOUNCE),
        (event("dropped", reason="Invalid"), ReportKind.HARD_BOUNCE),
        (event("dropped", reason="Invalid SMTPAPI header"), ReportKind.FAILED),
        (event("dropped", reason="Recipient List over Package Quota"), ReportKind.FAILED),
        (event("spamreport"), ReportKind.COMPLAINED),
        (event("unsubscribe"), ReportKind.UNSUBSCRIBED),
        (event("group_unsubscribe", asm_group_id=7), ReportKind.UNSUBSCRIBED),
        (event("group_resubscribe", asm_group_id=7), ReportKind.RESUBSCRIBED),
        (event("open"), ReportKind.OPENED),
        (event("click", url="https://shop.example/"), ReportKind.CLICKED),
    ],
)
async def test_each_event_is_one_report(said: dict[str, object], kind: ReportKind) -> None:
    (report,) = await reports(said)

    assert report.kind is kind
    assert (report.at, report.message_id, report.address) == (NOW, UUID(int=5), "ada@example.com")
    assert (report.key, report.provider_id) == (said["sg_event_id"], "abc.recvd-1")
    assert not report.machine


@pytest.mark.parametrize("reason", ["Unsubscribed Address", "Spam Reporting Address"])
async def test_who_told_sendgrid_to_stop_has_told_us(reason: str) -> None:
    failed, person = await reports(event("dropped", reason=reason))

    assert (failed.kind, person.kind) == (ReportKind.FAILED, ReportKind.UNSUBSCRIBED)
    assert failed.key != person.key


async def test_an_open_by_a_program_is_marked() -> None:
    (report,) = await reports(event("open", sg_machine_open=True))

    assert report.machine


async def test_events_of_others_and_of_no_use_are_left_out_or_have_no_id() -> None:
    (report,) = await reports(
        event("account_status_change"),
        5,
        {"event": 3},
        event("delivered", campanile_message="x"),
    )

    assert report.message_id is None


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[{]", b'[{"event": "open"}]', b'[{"event":"open","timestamp":1e99}]']
)
async def test_a_body_that_says_nothing_is_refused(body: bytes) -> None:
    async with sendgrid("http://127.0.0.1:1", webhook_key=KEY) as account:
        with pytest.raises(ValueError, match=r"."):
            account.reports(a_hook(body))


def test_an_account_is_opened_by_its_kind() -> None:
    account = KIND.open(an_account(settings_of(KIND, api_key="SG.lab")), a_world({}))

    assert account.capabilities is KIND.capabilities
    assert "SG.lab" not in repr(settings_of(KIND, api_key="SG.lab"))
