"""What Amazon SES's answers mean for one message. Pure: the tables that `channels/ses.py` goes by.

Each entry of a bulk call has a status:

| status                                                     | outcome                               |
|------------------------------------------------------------|---------------------------------------|
| SUCCESS                                                    | accepted                              |
| ACCOUNT_THROTTLED                                          | retry, calm                           |
| TRANSIENT_FAILURE, FAILED                                  | retry                                 |
| MESSAGE_REJECTED, INVALID_PARAMETER                        | rejected, but                         |
| the same because the sender or his domain is not verified  | retry much later, "sender: …"         |
| ACCOUNT_…, CONFIGURATION_SET_… and the like: see OURS      | retry much later, "sender: …"         |
| none, or one that we don't know                            | unknown                               |

A call that fails as a whole has an error:

| error                                                      | outcome                               |
|------------------------------------------------------------|---------------------------------------|
| TooManyRequestsException, Throttling…, any 429             | retry, calm, when it says             |
| MessageRejected, BadRequestException, a bad parameter      | rejected (a call of many is split)    |
| the same because the sender or his domain is not verified  | retry much later, "sender: …"         |
| 413                                                        | rejected (a call of many is split)    |
| 408                                                        | retry: it did not hear us out         |
| any other 3xx or 4xx: a quota, a pause, keys, permissions  | retry much later, "sender: …"         |
| 503 with an error of its own (ServiceUnavailable)          | retry                                 |
| 5xx else                                                   | unknown                               |
| no connection: name, port, TLS, time                       | retry                                 |
| cut or silent once we wrote, an answer that is none        | unknown                               |

SES says "internal failure" (500) of whatever went wrong between taking a call and answering it, so that a 500
excludes nothing. A 503 is its front, which has no room.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from botocore import exceptions as boto

from channels.contract import SENDERS_FAULT, Blame, Outcome, OutcomeKind
from channels.line import rest
from channels.smtp_replies import AFTER_A_NOT_NOW, LONGEST_REASON, not_sent, senders_fault, unknown

OURS = frozenset(
    {
        "ACCOUNT_SUSPENDED",
        "ACCOUNT_SENDING_PAUSED",
        "ACCOUNT_DAILY_QUOTA_EXCEEDED",
        "CONFIGURATION_SET_SENDING_PAUSED",
        "CONFIGURATION_SET_NOT_FOUND",
        "MAIL_FROM_DOMAIN_NOT_VERIFIED",
        "INVALID_SENDING_POOL_NAME",
        "TEMPLATE_NOT_FOUND",
    }
)
THROTTLED = frozenset({"TooManyRequestsException", "Throttling", "ThrottlingException", "RequestThrottled"})
REFUSED = frozenset(
    {"MessageRejected", "BadRequestException", "ValidationException", "SerializationException"}
)
NOT_VERIFIED = ("not verified", "not authorized to perform")  # SES's words about us.
KEYS = {  # What AWS says of keys, in words for whoever entered them.
    "UnrecognizedClientException": "AWS knows no access key of this id; enter it anew",
    "InvalidClientTokenId": "AWS knows no access key of this id; enter it anew",
    "SignatureDoesNotMatch": "The secret does not belong to this access key; enter it anew",
    "InvalidSignatureException": "The secret does not belong to this access key; enter it anew",
    "AccessDeniedException": "This access key may not use SES; allow it what docs/providers.md names",
}
NEVER_WRITTEN = (
    boto.EndpointConnectionError,
    boto.ConnectTimeoutError,
    boto.ProxyConnectionError,
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
)
HANDSHAKE = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "HANDSHAKE", "UNKNOWN_PROTOCOL", "MATCH")


def of_entry(result: Mapping[str, Any]) -> Outcome:
    """One entry of a bulk call's answer: {"Status", "Error", "MessageId"}."""
    status, error = str(result.get("Status") or ""), str(result.get("Error") or "")
    said = f"SES: {status} {error}".strip()[:LONGEST_REASON]
    match status:
        case "SUCCESS":
            return Outcome(OutcomeKind.ACCEPTED, provider_id=result.get("MessageId"))
        case "ACCOUNT_THROTTLED":
            return calm(said, None)
        case "TRANSIENT_FAILURE" | "FAILED":
            return replace(not_sent(said), retry_after=AFTER_A_NOT_NOW)
        case "MESSAGE_REJECTED" | "INVALID_PARAMETER" if not about_us(error):
            blame = Blame.RECIPIENT if "address" in error.lower() else Blame.MESSAGE
            return Outcome(OutcomeKind.REJECTED, reason=said, blame=blame)
        case "MESSAGE_REJECTED" | "INVALID_PARAMETER":
            return senders_fault(said)
        case _ if status in OURS:
            return senders_fault(said)
        case _:
            return unknown(said)


def of_error(code: str, status: int, message: str, headers: Mapping[str, str]) -> Outcome:
    """What an error, by its name and its HTTP status, means for each message of the call."""
    said = f"SES: {code} {message}".strip()[:LONGEST_REASON]
    if code in THROTTLED or status == 429:
        return calm(said, rest(headers))
    if (code in REFUSED and not about_us(message)) or status == 413:
        return Outcome(OutcomeKind.REJECTED, reason=said, blame=Blame.MESSAGE)
    if status == 408:
        return not_sent(said)
    if 300 <= status < 500:
        return senders_fault(said)
    if status == 503 and not code.isdecimal():
        seconds = rest(headers)
        return replace(not_sent(said), retry_after=AFTER_A_NOT_NOW if seconds is None else seconds)
    return unknown(said)


def of_failure(error: Exception) -> Outcome:
    """What it means that boto3 raised this."""
    if isinstance(error, boto.ClientError):
        said = error.response.get("Error", {})
        answer = error.response.get("ResponseMetadata", {})
        code, message = str(said.get("Code") or ""), str(said.get("Message") or "")
        return of_error(code, answer.get("HTTPStatusCode", 0), message, answer.get("HTTPHeaders", {}))
    if isinstance(error, boto.ParamValidationError):
        return Outcome(OutcomeKind.REJECTED, reason=f"SES: {error}"[:LONGEST_REASON], blame=Blame.MESSAGE)
    if isinstance(error, NEVER_WRITTEN):
        return not_sent(f"SES can't be reached: {error}"[:LONGEST_REASON])
    if isinstance(error, boto.SSLError) and any(word in str(error).upper() for word in HANDSHAKE):
        return not_sent(f"TLS with SES failed: {error}"[:LONGEST_REASON])
    return unknown(f"No answer of SES's: {error}"[:LONGEST_REASON])


def of_failed_check(error: Exception) -> str:
    """Why an account could not be asked, in a sentence."""
    if isinstance(error, boto.ClientError):
        code = str(error.response.get("Error", {}).get("Code") or "")
        if code in KEYS:
            return f"{KEYS[code]} ({code})."
    return f"{str(of_failure(error).reason).removeprefix(SENDERS_FAULT).rstrip('.')}."


def calm(said: str, seconds: float | None) -> Outcome:
    wait = 1.0 if seconds is None else seconds  # SES counts by the second.
    return Outcome(OutcomeKind.RETRY, reason=said, retry_after=wait, calm=True)


def about_us(message: str) -> bool:
    return any(words in message.lower() for words in NOT_VERIFIED)


def in_check(account: Mapping[str, Any]) -> str | None:
    """What keeps an account from sending, by GetAccount's answer."""
    if account.get("EnforcementStatus") == "SHUTDOWN":
        return "Amazon has shut this SES account down; write to AWS support."
    if not account.get("SendingEnabled"):
        return "Sending is paused for this SES account; resume it in the SES console."
    if not account.get("ProductionAccessEnabled"):
        return "This SES account is in the sandbox, for verified addresses only; ask for production access."
    quota = account.get("SendQuota") or {}
    most, sent = quota.get("Max24HourSend", -1), quota.get("SentLast24Hours", 0)
    if 0 <= most <= sent:  # -1 is no limit.
        return f"This SES account has sent the {most:,.0f} mails that it may send in 24 hours."
    return None
