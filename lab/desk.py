"""The lab's one state, and the way every valid call to send goes: struck by a fault, accepted, answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from starlette.requests import Request
from starlette.responses import Response

from lab.answers import Cut, Hang, later, written
from lab.http_faults import HttpFault, HttpFaults, Where
from lab.record import Accepted, Record
from lab.subscriptions import Subscription

NOBODY: frozenset[int] = frozenset()
DAY = 24 * 3600.0  # Seconds.

# Accepts all but those at these places, who are refused with the code; gives the usual answer.
Accept = Callable[[frozenset[int], str | None], Response]
Refuse = Callable[[int, str | None], Response]  # A status and a code in the provider's own shape.


@dataclass
class Accounts:
    """Who may come in. All of it may be changed while the lab runs."""

    ses: dict[str, str] = field(default_factory=lambda: {"AKIALAB": "lab-secret"})  # Key id to secret.
    sendgrid: dict[str, list[str]] = field(
        default_factory=lambda: {"SG.lab": ["mail.send", "user.profile.read"], "SG.reader": ["stats.read"]}
    )  # Key to scopes.
    mixmax: set[str] = field(default_factory=lambda: {"lab-mixmax"})  # Tokens.
    twilio: dict[str, str] = field(
        default_factory=lambda: {"AC00000000000000000000000000000001": "lab-twilio"}
    )  # Account to auth token.
    whatsapp: dict[str, str] = field(
        default_factory=lambda: {"106540352242922": "lab-whatsapp"}
    )  # Phone number id to access token.


@dataclass
class Desk:
    """What all routers share."""

    record: Record
    faults: HttpFaults = field(default_factory=HttpFaults)
    accounts: Accounts = field(default_factory=Accounts)
    dice: Random = field(default_factory=lambda: Random(1))
    url: str = ""  # Where the lab is, without a slash at its end.

    states: dict[str, str] = field(default_factory=dict)  # Twilio's status of each message, by its sid.
    opted_out: set[tuple[str, str]] = field(default_factory=set)  # At Twilio: our number, theirs.
    wrote_at: dict[str, float] = field(default_factory=dict)  # WhatsApp: when a number last wrote; Unix time.
    templates: dict[tuple[str, str], int] = field(
        default_factory=lambda: {("hello_world", "en_US"): 0, ("order_update", "en_US"): 2}
    )  # WhatsApp: name and language to the number of the body's parameters.
    subscriptions: dict[str, Subscription] = field(default_factory=dict)  # Browsers, by id.
    receivers: dict[str, str] = field(
        default_factory=lambda: {"shop": "whsec_Q2FtcGFuaWxlIHByb3ZpZGVyIGxhYidzIHJlY2VpdmU="}
    )  # Servers that take webhooks, by name, with their secrets.

    def may_write_freely(self, message: Accepted) -> bool:
        """Whether a WhatsApp message is a template's, or its recipient wrote within 24 hours."""
        wrote = self.wrote_at.get(message.recipient.removeprefix("+"), 0.0)
        return b'"template"' in message.call.body or message.at - wrote < DAY

    def forget(self) -> None:
        """Forget what was accepted and what is to go wrong; accounts, templates and subscriptions stay."""
        self.record.forget()
        self.faults.clear()
        for state in (self.states, self.opted_out, self.wrote_at):
            state.clear()

    async def take(
        self, provider: str, recipients: Sequence[str], accept: Accept, refuse: Refuse
    ) -> Response:
        """The answer to a valid call that would send to these recipients."""
        self.record.offer(provider, len(recipients))
        fault = self.faults.strike(provider, Where.SEND, recipients)
        if fault is None:
            return accept(NOBODY, None)
        if fault.cut == "before":
            return Cut()
        if (fault.status is not None or fault.hang) and not fault.keep:
            answer = failing(fault, refuse)
        else:
            answer = accept(fault.refused(recipients, self.dice), fault.code)
            if fault.status is not None or fault.hang:
                answer = failing(fault, refuse)
            answer.headers.update(fault.headers)
        answer = await later(answer, fault.latency)
        return Cut() if fault.cut == "after" else answer

    async def look(self, provider: str, answer: Response, refuse: Refuse) -> Response:
        """The answer to a call that looks at an account."""
        fault = self.faults.strike(provider, Where.CHECK)
        if fault is None:
            return answer
        if fault.status is not None or fault.hang:
            answer = failing(fault, refuse)
        answer = await later(answer, fault.latency)
        return Cut() if fault.cut else answer


def failing(fault: HttpFault, refuse: Refuse) -> Response:
    if fault.hang or fault.status is None:
        return Hang()
    if fault.body is not None:
        return written(fault.body, fault.status, fault.headers)
    answer = refuse(fault.status, fault.code)
    answer.headers.update(fault.headers)
    return answer


def desk(request: Request) -> Desk:
    found = request.app.state.desk
    assert isinstance(found, Desk)
    return found
