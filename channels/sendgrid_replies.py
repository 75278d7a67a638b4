"""What SendGrid's answers mean for the messages of a call. Pure: the table `channels/sendgrid.py` goes by.

| the answer                                   | outcome                                                  |
|----------------------------------------------|----------------------------------------------------------|
| 202                                          | accepted                                                 |
| 200                                          | accepted: valid, and not delivered, as a sandbox does    |
| 400 naming a recipient: see `at_fault`       | rejected for that one; the others were not accepted      |
| 400 about from, reply_to, …: see OURS        | retry much later, "sender: …"                            |
| 400 else                                     | rejected: the message                                    |
| 401, 403, any other 3xx or 4xx               | retry much later, "sender: …"                            |
| 408                                          | retry: it did not hear us out                            |
| 413                                          | rejected: the message (a call of many is split first)    |
| 429                                          | retry, calm, when it says                                |
| 503 with an error in SendGrid's own form     | retry: its front has no room                             |
| 503 with Retry-After                         | retry                                                    |
| 5xx else, any other status                   | unknown                                                  |
| no connection                                | retry                                                    |
| cut or silent once we wrote                  | unknown                                                  |

A call is taken as a whole or not at all. Its manual says of 500 that an error occurred on a server of
SendGrid's, and not when: it may have queued the call before. So only a refusal at the door, 503, is a certain
no among what is its own fault. A 502, a 504 or a page of HTML come from what stands in between, which can't
know either.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from channels.contract import Blame, Outcome, OutcomeKind
from channels.line import NotHeard, NotWritten, Reply, rest
from channels.smtp_replies import AFTER_A_NOT_NOW, LONGEST_REASON, not_sent, senders_fault, unknown

RESET = "x-ratelimit-reset"
PERSON = re.compile(r"personalizations[.\[]{1,2}(\d{1,6})(.*)")
# Fields that are the same whatever is sent and to whom: the sender's address, the account's options.
OURS = ("from", "reply_to", "ip_pool_name", "asm", "mail_settings", "tracking_settings", "custom_args")


def outcome_of(status: int, headers: Mapping[str, str], body: bytes) -> Outcome:
    """One outcome for all messages of the call."""
    errors = errors_of(body)
    said = in_words(status, errors)
    match status:
        case 200 | 202:
            return Outcome(OutcomeKind.ACCEPTED, provider_id=headers.get("x-message-id"))
        case 400 if not any(field.startswith(OURS) for field, _ in errors):
            return rejected(said)
        case 413:
            return rejected(said)
        case 429:
            seconds = rest(headers, RESET)
            wait = AFTER_A_NOT_NOW if seconds is None else seconds
            return Outcome(OutcomeKind.RETRY, reason=said, retry_after=wait, calm=True)
        case 408:
            return not_sent(said)
        case _ if 300 <= status < 500:
            return senders_fault(said)
        case 503 if errors or rest(headers) is not None:
            return not_now(said, headers)
        case _:
            return unknown(said)


def at_fault(status: int, body: bytes) -> dict[int, Outcome]:
    """The recipients, by their place in the call, because of whom all of it was refused."""
    faults: dict[int, Outcome] = {}
    for field, message in errors_of(body) if status == 400 else ():
        if found := PERSON.match(field):
            part = re.split(r"[.\[\]]", found[2].lstrip(".]"))[0]
            blame = Blame.RECIPIENT if part in ("", "to") else Blame.MESSAGE
            faults[int(found[1])] = rejected(f"{message} ({field})", blame)
    return faults


def not_taken(failure: NotWritten | NotHeard) -> Outcome:
    """What it means that there was no answer."""
    said = f"SendGrid: {failure}"
    return not_sent(said) if isinstance(failure, NotWritten) else unknown(said)


def rejected(said: str, blame: Blame = Blame.MESSAGE) -> Outcome:
    return Outcome(OutcomeKind.REJECTED, reason=said[:LONGEST_REASON], blame=blame)


def not_now(said: str, headers: Mapping[str, str]) -> Outcome:
    seconds = rest(headers, RESET)
    return replace(not_sent(said), retry_after=AFTER_A_NOT_NOW if seconds is None else seconds)


def errors_of(body: bytes) -> list[tuple[str, str]]:
    """Of an error in SendGrid's form ({"errors": [{"message", "field", "help"}]}), each field and message."""
    try:
        said: Any = orjson.loads(body)
    except ValueError:
        return []
    found = said.get("errors") if isinstance(said, dict) else None
    if not isinstance(found, list):
        return []
    return [
        (str(error.get("field") or ""), str(error["message"]))
        for error in found
        if isinstance(error, dict) and error.get("message")
    ]


def in_words(status: int, errors: list[tuple[str, str]]) -> str:
    details = "; ".join(f"{message} ({field})" if field else message for field, message in errors)
    return (
        f"SendGrid answered {status}: {details}"[:LONGEST_REASON]
        if details
        else f"SendGrid answered {status}"
    )


def in_check(reply: Reply) -> str:
    """The same for whoever asks whether the account is in order."""
    if reply.status in (401, 403):
        return "SendGrid refuses the API key: make one with the permission Mail Send, and enter it anew."
    return in_words(reply.status, errors_of(reply.body)) + "."
