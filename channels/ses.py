"""Email by Amazon SES (API v2): fifty people a call, each with what fills the letter for them.

`ses_replies` says what its answers mean, `ses_hooks` what it reports, `sns` whether a report is genuine.
boto3 blocks, so that it works in threads of its own. It would repeat a call that timed out, so it may not.
"""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from channels import ses_client
from channels.contract import (
    Account,
    Blame,
    Capabilities,
    Envelope,
    Handshake,
    Hook,
    Kind,
    Outcome,
    OutcomeKind,
    Report,
    ReportKind,
    World,
)
from channels.letters import Mail, Parts
from channels.line import Patience, Token
from channels.merging import Calling, everything, headers_of
from channels.mime import mailbox
from channels.mime_bulk import ID, TOKEN
from channels.ses_hooks import MESSAGE, reports_of
from channels.ses_replies import in_check, of_entry, of_failed_check, of_failure
from channels.smtp import Unsendable, in_ascii
from channels.smtp_replies import not_sent, senders_fault, unknown
from channels.sns import SNS, Sns
from domain.channels import Channel

ENTRIES = b"BulkEmailEntries"
MOST = 50  # Destinations a call.
LARGEST_CALL = 999_000  # Bytes of a call with a template in it.
LARGEST_DATA = 262_144  # Characters of what fills the template for one person.
THREADS = 24  # Calls at a time: SES is some fifty milliseconds away.
RESERVED = frozenset({"message-id"})  # Headers that SES writes itself.
OPENING = "{{"
NAME = "^[A-Za-z0-9_-]+$"
TOO_LATE = not_sent("There was no time left for it.")

CAPABILITIES = Capabilities(
    largest_batch=MOST * 20,
    wire_batch=MOST * 20,
    webhooks=True,
    lookup=False,
    reports=(
        ReportKind.ACCEPTED,
        ReportKind.DEFERRED,
        ReportKind.SOFT_BOUNCE,
        ReportKind.DELIVERED,
        ReportKind.FAILED,
        ReportKind.HARD_BOUNCE,
        ReportKind.COMPLAINED,
        ReportKind.UNSUBSCRIBED,
        ReportKind.RESUBSCRIBED,
    ),
    attachments=True,
)


class SesSettings(BaseModel):
    """What an account with Amazon SES needs."""

    model_config = ConfigDict(extra="forbid")

    region: str = Field(pattern=r"^[a-z]+(-[a-z]+)+-[0-9]$", max_length=40, description="Such as eu-west-1")
    access_key_id: str = Field(pattern="^[A-Za-z0-9_]+$", max_length=128, description="An IAM user's key")
    secret_access_key: Token = Field(description="Its secret")
    configuration_set: str | None = Field(
        default=None,
        pattern=NAME,
        max_length=64,
        description="The configuration set whose events SES reports to the SNS topic",
    )
    tenant: str | None = Field(default=None, pattern=NAME, max_length=64, description="A tenant at SES")
    topic_arn: str | None = Field(
        default=None,
        pattern="^arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]+:[A-Za-z0-9_.-]+$",
        max_length=400,
        description="The SNS topic of the events; webhooks of others, and without it all, are refused",
    )


@dataclass
class Single:
    """A call for one, with the mail as it reads."""

    place: int
    input: dict[str, Any]
    begun: bool = False

    @property
    def places(self) -> list[int]:
        return [self.place]


class Ses:
    """An account with Amazon SES."""

    name = "ses"
    capabilities = CAPABILITIES

    def __init__(self, account: Account, world: World, *, patience: Patience | None = None) -> None:
        settings = account.settings
        assert isinstance(settings, SesSettings)
        self.settings = settings
        self.workspace = str(account.workspace_id)
        self.patience = patience or Patience()
        self.endpoint = world.endpoints.get("ses")
        self.pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ses")
        self.sns = Sns(world.egress, world.endpoints.get(SNS))
        self._client: Any = None
        self._one_client = threading.Lock()

    def client(self) -> Any:
        """Called in threads: making one takes a while."""
        with self._one_client:
            if self._client is None:
                self._client = ses_client.make(
                    region=self.settings.region,
                    key_id=self.settings.access_key_id,
                    secret=self.settings.secret_access_key.get_secret_value(),
                    endpoint=self.endpoint,
                    connections=THREADS,
                    patience=self.patience,
                )
            return self._client

    async def send(self, letter: Mail, batch: Sequence[Envelope]) -> list[Outcome]:
        outcomes: list[Outcome | None] = [None] * len(batch)
        ends = time.monotonic() + self.patience.send
        calls = [call for tracked in (True, False) for call in self.calls(letter, batch, tracked, outcomes)]
        loop = asyncio.get_running_loop()
        work = {loop.run_in_executor(self.pool, self.deliver, call, outcomes, ends): call for call in calls}
        if work:
            _, late = await asyncio.wait(work, timeout=self.patience.send)
            for future in late:
                future.cancel()
                if not work[future].begun:
                    _settle(work[future], TOO_LATE, outcomes)
        # What a thread still works on is settled here, and what it hears later comes too late.
        return [outcome or unknown("No answer of SES's in time.") for outcome in outcomes]

    async def check(self) -> str | None:
        loop = asyncio.get_running_loop()
        try:
            account = await loop.run_in_executor(self.pool, lambda: self.client().get_account())
        except Exception as error:  # noqa: BLE001 - boto3 raises whatever its transports raise
            return of_failed_check(error)
        return in_check(account)

    async def close(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    # Calls.

    def calls(
        self, letter: Mail, batch: Sequence[Envelope], tracked: bool, outcomes: list[Outcome | None]
    ) -> list[Calling | Single]:
        """The calls for those who are tracked, or are not. Whom we can't write to has an outcome already."""
        chosen = [(place, each) for place, each in enumerate(batch) if each.tracked == tracked]
        if not chosen:
            return []
        try:
            merged = Merged(self, letter, tracked)
        except Exception as error:  # noqa: BLE001 - the letter as a whole can't go out
            for place, _ in chosen:
                outcomes[place] = _unsendable(error)
            return []
        singles: list[Calling | Single] = []
        calls: list[Calling | Single] = []
        call = Calling(ENTRIES, merged.common)
        for place, envelope in chosen:
            try:
                entry = None if envelope.attachments else merged.entry(envelope)
                if entry is None:
                    singles.append(Single(place, self.single(letter, envelope)))
                    continue
            except Exception as error:  # noqa: BLE001 - the contract: one message's fault stops no other
                outcomes[place] = _unsendable(error)
                continue
            if call.people and (len(call.people) == MOST or call.size + len(entry) > LARGEST_CALL):
                calls.append(call)
                call = Calling(ENTRIES, merged.common)
            call.add(place, entry)
        return [*calls, *([call] if call.people else []), *singles]

    def around(self, parts: Parts) -> dict[str, Any]:
        """What a call says beside its content."""
        try:
            address = in_ascii(parts.from_email).decode()
        except Unsendable as error:
            raise _BadSender(str(error)) from error
        said: dict[str, Any] = {
            "FromEmailAddress": mailbox(parts.from_name, address).decode().replace("\r\n", "")
        }
        if parts.reply_to:
            said["ReplyToAddresses"] = [parts.reply_to]
        if self.settings.configuration_set:
            said["ConfigurationSetName"] = self.settings.configuration_set
        if self.settings.tenant:
            said["TenantName"] = self.settings.tenant
        return said

    def single(self, letter: Mail, envelope: Envelope) -> dict[str, Any]:
        """The input of SendEmail: nothing in it is replaced."""
        parts = letter.parts(envelope)
        bodies = {"Text": parts.text, "Html": parts.html}
        simple: dict[str, Any] = {
            "Subject": {"Data": parts.subject, "Charset": "UTF-8"},
            "Body": {kind: {"Data": said, "Charset": "UTF-8"} for kind, said in bodies.items() if said},
            "Headers": _headers(dict(parts.headers)),
        }
        if envelope.attachments:
            simple["Attachments"] = [
                {
                    "FileName": each.name,
                    "ContentType": each.content_type,
                    "RawContent": each.content,
                    "ContentDisposition": "ATTACHMENT",
                    "ContentTransferEncoding": "BASE64",
                }
                for each in envelope.attachments
            ]
        return {
            **self.around(parts),
            "Destination": {"ToAddresses": [in_ascii(envelope.address).decode()]},
            "EmailTags": [*self.tags, _tag(str(envelope.id))],
            "Content": {"Simple": simple},
        }

    @property
    def tags(self) -> list[dict[str, str]]:
        return [{"Name": "workspace", "Value": self.workspace}]

    def deliver(self, call: Calling | Single, outcomes: list[Outcome | None], ends: float) -> None:
        """Make the call, in a thread, and write down what became of it. When a call for many is refused
        because of some, it is halved until they are found: nobody was accepted."""
        if time.monotonic() > ends - self.patience.begin:
            _settle(call, TOO_LATE, outcomes)
            return
        call.begun = True
        try:
            if isinstance(call, Single):
                name = self.client().send_email(**call.input).get("MessageId")
                _settle(call, Outcome(OutcomeKind.ACCEPTED, provider_id=name), outcomes)
                return
            answer = self.client().send_bulk_email(**{ses_client.BODY: call.body})
        except Exception as error:  # noqa: BLE001 - boto3 raises whatever its transports raise
            outcome = of_failure(error)
            if isinstance(call, Calling) and outcome.kind is OutcomeKind.REJECTED and len(call.people) > 1:
                for half in call.halves():
                    self.deliver(half, outcomes, ends)
            else:
                _settle(call, outcome, outcomes)
            return
        results = answer.get("BulkEmailEntryResults") or []
        for at, place in enumerate(call.places):
            outcomes[place] = of_entry(results[at] if at < len(results) else {})

    # Webhooks.

    async def verify(self, hook: Hook, now: datetime) -> Handshake | None:
        settled = await self.sns.verify(hook.body, self.settings.topic_arn, now)
        return Handshake() if settled else None

    def reports(self, hook: Hook) -> list[Report]:
        return reports_of(hook.body)


class Merged:
    """A letter that SES fills in: said once, with tags, and for each person what stands for them.

    It replaces `{{name}}` in one pass, as far as its guide says. Who has such braces in a letter or a value
    is written to alone, so that nobody need find out.
    """

    def __init__(self, account: Ses, letter: Mail, tracked: bool) -> None:
        bulk = letter.bulk(tracked, self.tag)
        content = everything(bulk.parts)
        bare = everything(letter.bulk(tracked, lambda _: "\0").parts)
        self.unsuitable = OPENING in bare or "{\0" in bare
        self.values = bulk.values
        self.spare = [tag for tag in (self.tag(TOKEN), self.tag(ID)) if tag not in content]
        same, self.differing = headers_of(bulk.parts, (self.tag(TOKEN), self.tag(ID)))
        template = {"Subject": bulk.parts.subject, "Html": bulk.parts.html, "Text": bulk.parts.text}
        common = {
            **account.around(bulk.parts),
            "DefaultEmailTags": account.tags,
            "DefaultContent": {
                "Template": {
                    "TemplateContent": {kind: said for kind, said in template.items() if said},
                    "TemplateData": "{}",
                    "Headers": _headers(same),
                }
            },
        }
        self.common = orjson.dumps(common)[1:]

    @staticmethod
    def tag(number: int) -> str:
        return f"{{{{v{number}}}}}"

    def entry(self, envelope: Envelope) -> bytes | None:
        """None for somebody whose mail has to be written out."""
        if self.unsuitable:
            return None
        values = self.values(envelope)
        headers = _headers(self.differing(values))
        tag_of_mail = _tag(values[self.tag(ID)])
        for tag in self.spare:
            del values[tag]
        if any("{" in value for value in values.values()):
            return None
        data = orjson.dumps({tag[2:-2]: value for tag, value in values.items()}).decode()
        entry = orjson.dumps(
            {
                "Destination": {"ToAddresses": [in_ascii(envelope.address).decode()]},
                "ReplacementTags": [tag_of_mail],
                "ReplacementEmailContent": {"ReplacementTemplate": {"ReplacementTemplateData": data}},
                "ReplacementHeaders": headers,
            }
        )
        if len(data) > LARGEST_DATA or len(self.common) + len(entry) > LARGEST_CALL:
            return None
        return entry


def _headers(headers: dict[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in headers.items() if name.lower() not in RESERVED]


def _tag(message: str) -> dict[str, str]:
    return {"Name": MESSAGE, "Value": message}


def _settle(call: Calling | Single, outcome: Outcome, outcomes: list[Outcome | None]) -> None:
    for place in call.places:
        outcomes[place] = outcome


class _BadSender(Exception):
    pass


def _unsendable(error: Exception) -> Outcome:
    if isinstance(error, _BadSender):
        return senders_fault(str(error))
    if isinstance(error, Unsendable):
        return Outcome(OutcomeKind.REJECTED, reason=str(error), blame=Blame.RECIPIENT)
    return Outcome(
        OutcomeKind.REJECTED, reason=f"The letter could not be filled: {error}", blame=Blame.MESSAGE
    )


def advice(settings: Mapping[str, Any]) -> list[str]:
    """What an account lacks so that its reports count."""
    lacks = []
    if not settings.get("topic_arn"):
        lacks.append(
            "Without topic_arn Amazon SES's reports are refused: deliveries and bounces stay unknown."
        )
    if not settings.get("configuration_set"):
        lacks.append(
            "Without configuration_set Amazon SES reports only where a sender's identity has its own."
        )
    return lacks


KIND = Kind(
    name="ses",
    title="Amazon SES",
    channel=Channel.EMAIL,
    settings=SesSettings,
    capabilities=CAPABILITIES,
    open=Ses,
    advice=advice,
)
