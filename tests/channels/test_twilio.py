"""Texts by Twilio: what goes over the wire, what its answers mean, and what it reports."""

from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

import pytest
from pydantic import SecretStr, ValidationError
from twilio.request_validator import RequestValidator

from channels import twilio_account
from channels.contract import Blame, Hook, NotGenuine, OutcomeKind, ReportKind
from channels.twilio import KIND, TwilioSettings
from domain.profiles import SuppressionReason
from lab.http_server import Answer
from tests.channels.calls_support import NOBODY, ALetter, a_site, an_account, envelope

SID = "AC" + "0" * 32
SETTINGS = TwilioSettings(account_sid=SID, auth_token=SecretStr("token"), from_number="+15005550006")
YES = Answer(201, {"sid": "SM1", "status": "queued"})
HOOK_URL = f"https://campanile.example/hooks/{UUID(int=7)}"
NOW = datetime(2026, 11, 26, tzinfo=UTC)

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN


async def test_a_text_goes_out_with_its_callback() -> None:
    async with a_site(YES) as site, an_account(KIND, SETTINGS, site.url) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    assert (outcome.kind, outcome.provider_id) == (ACCEPTED, "SM1")
    [asked] = site.asked
    assert asked.path == f"/2010-04-01/Accounts/{SID}/Messages.json"
    assert asked.form == {
        "To": "+4917012345678",
        "From": "+15005550006",
        "Body": "Hello Ada",
        "StatusCallback": f"{HOOK_URL}?message={UUID(int=1)}",
    }
    assert asked.headers["authorization"].startswith("Basic ")


async def test_a_messaging_service_chooses_the_number() -> None:
    service = "MG" + "0" * 32
    settings = TwilioSettings(account_sid=SID, auth_token=SecretStr("t"), messaging_service_sid=service)
    async with a_site(YES) as site, an_account(KIND, settings, site.url) as provider:
        await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    assert site.asked[0].form["MessagingServiceSid"] == service
    assert "From" not in site.asked[0].form


@pytest.mark.parametrize(
    ("code", "kind", "blame", "suppress"),
    [
        (20003, RETRY, Blame.PROVIDER, None),
        (20005, RETRY, Blame.PROVIDER, None),
        (20429, RETRY, Blame.PROVIDER, None),
        (21211, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (21212, RETRY, Blame.PROVIDER, None),
        (21265, REJECTED, Blame.RECIPIENT, None),
        (21266, REJECTED, Blame.RECIPIENT, None),
        (21408, REJECTED, Blame.RECIPIENT, None),
        (21602, REJECTED, Blame.MESSAGE, None),
        (21603, RETRY, Blame.PROVIDER, None),
        (21606, RETRY, Blame.PROVIDER, None),
        (21608, REJECTED, Blame.RECIPIENT, None),
        (21610, REJECTED, Blame.RECIPIENT, SuppressionReason.UNSUBSCRIBED),
        (21611, RETRY, Blame.PROVIDER, None),
        (21612, REJECTED, Blame.RECIPIENT, None),
        (21614, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (21617, REJECTED, Blame.MESSAGE, None),
        (21635, REJECTED, Blame.RECIPIENT, None),
        (21659, RETRY, Blame.PROVIDER, None),
        (21660, RETRY, Blame.PROVIDER, None),
        (21703, RETRY, Blame.PROVIDER, None),
        (21705, RETRY, Blame.PROVIDER, None),
        (30001, RETRY, Blame.PROVIDER, None),
        (30002, RETRY, Blame.PROVIDER, None),
        (30005, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (30006, REJECTED, Blame.RECIPIENT, SuppressionReason.HARD_BOUNCE),
        (30007, RETRY, Blame.PROVIDER, None),
        (30034, RETRY, Blame.PROVIDER, None),
        (99999, REJECTED, Blame.MESSAGE, None),
    ],
)
async def test_each_code_means_one_outcome(
    code: int, kind: OutcomeKind, blame: Blame, suppress: SuppressionReason | None
) -> None:
    no = Answer(400, {"code": code, "message": "a reason", "status": 400})
    async with a_site(no) as site, an_account(KIND, SETTINGS, site.url) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    assert (outcome.kind, outcome.blame, outcome.suppress) == (kind, blame, suppress)
    assert f"{code} a reason" in outcome.reason
    assert (outcome.retry_after is not None) is (kind is RETRY)
    assert outcome.calm is (code in (20429, 21611, 30001))


def test_every_line_of_the_table_is_tested() -> None:
    marks = test_each_code_means_one_outcome.pytestmark  # type: ignore[attr-defined]
    assert set(twilio_account.ERRORS) <= {row[0] for row in marks[0].args[1]}


async def test_too_many_requests_say_when_to_come_again() -> None:
    busy = Answer(429, {"code": 20429, "message": "Too Many Requests"}, {"Retry-After": "17"})
    async with a_site(busy) as site, an_account(KIND, SETTINGS, site.url) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    assert (outcome.kind, outcome.retry_after, outcome.calm) == (RETRY, 17.0, True)


@pytest.mark.parametrize("answer", [Answer(500), Answer(503), Answer(201, b"what?"), Answer(201, [])])
async def test_what_makes_no_sense_is_unknown(answer: Answer) -> None:
    async with a_site(answer) as site, an_account(KIND, SETTINGS, site.url) as provider:
        [outcome] = await provider.send(ALetter(), [envelope(1, "+4917012345678")])

    assert outcome.kind is UNKNOWN


async def test_nobody_there_is_tried_again_and_a_letter_that_cant_be_filled_stops_no_other() -> None:
    async with an_account(KIND, SETTINGS, NOBODY) as provider:
        batch = [envelope(1, "+4917012345678"), envelope(2, "+4917012345679", "broken")]
        lost, broken = await provider.send(ALetter(), batch)

    assert (lost.kind, broken.kind, broken.blame) == (RETRY, REJECTED, Blame.MESSAGE)
    assert "there is no first name" in broken.reason


async def test_the_check_says_what_is_wrong() -> None:
    answers = [
        Answer(200, {"sid": SID, "status": "active"}),
        Answer(200, {"sid": SID, "status": "suspended"}),
        Answer(401, {"code": 20003, "message": "Authenticate"}),
    ]
    async with a_site(*answers) as site, an_account(KIND, SETTINGS, site.url) as provider:
        assert await provider.check() is None
        assert "suspended" in await provider.check()
        assert "auth token" in await provider.check()
    async with an_account(KIND, SETTINGS, NOBODY) as provider:
        assert "can't be reached" in await provider.check()


def test_an_account_has_one_sender() -> None:
    with pytest.raises(ValidationError, match="either from_number or messaging_service_sid"):
        TwilioSettings(account_sid=SID, auth_token=SecretStr("token"))
    with pytest.raises(ValidationError, match="Write prices like"):
        TwilioSettings.model_validate(SETTINGS.model_dump() | {"prices": {"49": "0.08"}})


def hook(query: str = "", **form: str) -> Hook:
    url = HOOK_URL + query
    signature = RequestValidator("token").compute_signature(url, form)
    return Hook("POST", url, {"x-twilio-signature": signature}, urlencode(form).encode())


async def test_only_what_twilio_signed_is_genuine() -> None:
    genuine = hook("?message=1", MessageSid="SM1", MessageStatus="delivered", ErrorMessage="")
    changed = Hook("POST", genuine.url, genuine.headers, genuine.body.replace(b"delivered", b"failed"))
    elsewhere = Hook("POST", HOOK_URL + "?message=2", genuine.headers, genuine.body)
    async with an_account(KIND, SETTINGS) as provider:
        assert await provider.verify(genuine, NOW) is None
        for false in (changed, elsewhere, Hook("POST", genuine.url, {}, genuine.body)):
            with pytest.raises(NotGenuine):
                await provider.verify(false, NOW)


@pytest.mark.parametrize(
    "body",
    ["&".join(f"{n:x}=" for n in range(145_000)), "&" * 300, "Body=" + "x" * 64_000],
    ids=["many fields", "empty fields", "one large field"],
)
async def test_a_form_that_twilio_never_sends_is_refused_unread(body: str) -> None:
    async with an_account(KIND, SETTINGS) as provider:
        with pytest.raises(NotGenuine, match="as large"):
            await provider.verify(Hook("POST", HOOK_URL, {"x-twilio-signature": "x"}, body.encode()), NOW)
        with pytest.raises(ValueError, match=r"."):
            provider.reports(Hook("POST", HOOK_URL, {}, body.encode()))


@pytest.mark.parametrize(
    ("status", "code", "kinds"),
    [
        ("queued", "", ["accepted"]),
        ("accepted", "", ["accepted"]),
        ("scheduled", "", ["accepted"]),
        ("sending", "", ["accepted"]),
        ("sent", "", ["accepted"]),
        ("delivered", "", ["delivered"]),
        ("read", "", ["read"]),
        ("canceled", "", ["failed"]),
        ("failed", "30007", ["failed"]),
        ("undelivered", "30003", ["soft bounce"]),
        ("undelivered", "30008", ["soft bounce"]),
        ("undelivered", "30005", ["hard bounce"]),
        ("undelivered", "30006", ["hard bounce"]),
        ("failed", "21211", ["hard bounce"]),
        ("failed", "21614", ["hard bounce"]),
        ("failed", "21610", ["failed", "unsubscribed"]),
        ("failed", "", ["failed"]),
        ("something new", "", []),
    ],
)
async def test_a_status_is_a_report(status: str, code: str, kinds: list[str]) -> None:
    message = UUID(int=9)
    form = {"MessageSid": "SM1", "MessageStatus": status, "To": "+4917012345678", "ErrorCode": code}
    async with an_account(KIND, SETTINGS) as provider:
        reports = provider.reports(hook(f"?message={message}", **form))

    assert [report.kind for report in reports] == kinds
    assert len({report.key for report in reports}) == len(kinds)
    for report in reports:
        # Who is said to have unsubscribed had done so before.
        about = None if report.kind is ReportKind.UNSUBSCRIBED else message
        assert (report.message_id, report.provider_id) == (about, "SM1")
        assert report.address == "+4917012345678"


@pytest.mark.parametrize(
    ("sender", "good"),
    [
        ("+15005550006", True),
        ("12345", True),
        ("Shop & Co", True),
        ("5005550006", False),
        ("not a number!", False),
        ("+0123", False),
        ("", False),
    ],
)
def test_a_sender_is_a_number_a_short_code_or_a_name(sender: str, good: bool) -> None:
    try:
        TwilioSettings(account_sid=SID, auth_token=SecretStr("token"), from_number=sender)
        assert good
    except ValidationError:
        assert not good


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ({"Body": "Stop!"}, ReportKind.UNSUBSCRIBED),
        ({"Body": "bitte kein Spam", "OptOutType": "STOP"}, ReportKind.UNSUBSCRIBED),
        ({"Body": "START"}, ReportKind.RESUBSCRIBED),
        ({"Body": "help"}, ReportKind.HELP),
        ({"Body": "When do you open?"}, ReportKind.REPLIED),
    ],
)
async def test_what_a_person_writes_is_obeyed_or_told(form: dict[str, str], kind: ReportKind) -> None:
    said = {"MessageSid": "SM2", "SmsStatus": "received", "From": "+4917012345678", "To": "+1500", **form}
    async with an_account(KIND, SETTINGS) as provider:
        [report] = provider.reports(hook(**said))

    assert (report.kind, report.address, report.text) == (kind, "+4917012345678", form["Body"])
    assert (report.message_id, report.provider_id) == (None, None)


async def test_a_form_without_a_message_cant_be_read() -> None:
    async with an_account(KIND, SETTINGS) as provider:
        with pytest.raises(ValueError, match="MessageSid"):
            provider.reports(hook(Body="hello"))
