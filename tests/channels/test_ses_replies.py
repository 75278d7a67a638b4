"""The tables of SES's answers, row by row."""

from typing import Any

import pytest
from botocore import exceptions as boto

from channels.contract import Blame, OutcomeKind
from channels.ses_replies import in_check, of_entry, of_error, of_failure

ACCEPTED, REJECTED = OutcomeKind.ACCEPTED, OutcomeKind.REJECTED
RETRY, UNKNOWN = OutcomeKind.RETRY, OutcomeKind.UNKNOWN
SENDER = "sender"
CALM = "calm"


@pytest.mark.parametrize(
    ("status", "error", "kind", "how"),
    [
        ("SUCCESS", None, ACCEPTED, ""),
        ("ACCOUNT_THROTTLED", "", RETRY, CALM),
        ("TRANSIENT_FAILURE", "", RETRY, ""),
        ("FAILED", "", RETRY, ""),
        ("MESSAGE_REJECTED", "Virus", REJECTED, ""),
        ("INVALID_PARAMETER", "Illegal address", REJECTED, ""),
        ("MESSAGE_REJECTED", "Email address is not verified.", RETRY, SENDER),
        ("ACCOUNT_SUSPENDED", "", RETRY, SENDER),
        ("ACCOUNT_SENDING_PAUSED", "", RETRY, SENDER),
        ("ACCOUNT_DAILY_QUOTA_EXCEEDED", "", RETRY, SENDER),
        ("CONFIGURATION_SET_SENDING_PAUSED", "", RETRY, SENDER),
        ("CONFIGURATION_SET_NOT_FOUND", "", RETRY, SENDER),
        ("MAIL_FROM_DOMAIN_NOT_VERIFIED", "", RETRY, SENDER),
        ("INVALID_SENDING_POOL_NAME", "", RETRY, SENDER),
        ("TEMPLATE_NOT_FOUND", "", RETRY, SENDER),
        ("SOMETHING_NEW", "", UNKNOWN, ""),
        ("", "", UNKNOWN, ""),
    ],
)
def test_each_status_of_an_entry_means_one_thing(
    status: str, error: str | None, kind: OutcomeKind, how: str
) -> None:
    outcome = of_entry({"Status": status, "Error": error, "MessageId": "0102-1"})

    assert outcome.kind is kind
    assert outcome.calm == (how == CALM)
    assert str(outcome.reason).startswith("sender: ") == (how == SENDER)
    assert outcome.provider_id == ("0102-1" if kind is ACCEPTED else None)
    assert (outcome.retry_after is not None) == (kind is RETRY)


def test_an_entry_says_whether_it_is_the_address_or_the_mail() -> None:
    assert of_entry({"Status": "INVALID_PARAMETER", "Error": "Illegal address"}).blame is Blame.RECIPIENT
    assert of_entry({"Status": "MESSAGE_REJECTED", "Error": "Virus"}).blame is Blame.MESSAGE


@pytest.mark.parametrize(
    ("code", "status", "message", "kind", "how"),
    [
        ("TooManyRequestsException", 429, "", RETRY, CALM),
        ("ThrottlingException", 400, "Maximum sending rate exceeded.", RETRY, CALM),
        ("429", 429, "", RETRY, CALM),
        ("MessageRejected", 400, "Virus", REJECTED, ""),
        ("MessageRejected", 400, "Email address is not verified. The following…", RETRY, SENDER),
        ("BadRequestException", 400, "Illegal header", REJECTED, ""),
        ("413", 413, "", REJECTED, ""),
        ("408", 408, "", RETRY, ""),
        ("LimitExceededException", 400, "", RETRY, SENDER),
        ("AccountSuspendedException", 400, "", RETRY, SENDER),
        ("SendingPausedException", 400, "", RETRY, SENDER),
        ("MailFromDomainNotVerifiedException", 400, "", RETRY, SENDER),
        ("NotFoundException", 404, "Configuration set", RETRY, SENDER),
        ("AccessDeniedException", 403, "", RETRY, SENDER),
        ("InvalidSignatureException", 403, "", RETRY, SENDER),
        ("301", 301, "", RETRY, SENDER),
        ("ServiceUnavailable", 503, "", RETRY, ""),
        ("503", 503, "", UNKNOWN, ""),
        ("InternalFailure", 500, "", UNKNOWN, ""),
        ("500", 500, "", UNKNOWN, ""),
        ("502", 502, "", UNKNOWN, ""),
        ("504", 504, "", UNKNOWN, ""),
        ("", 0, "", UNKNOWN, ""),
    ],
)
def test_each_error_of_a_call_means_one_thing(
    code: str, status: int, message: str, kind: OutcomeKind, how: str
) -> None:
    outcome = of_error(code, status, message, {})

    assert outcome.kind is kind
    assert outcome.calm == (how == CALM)
    assert str(outcome.reason).startswith("sender: ") == (how == SENDER)


def test_a_throttle_that_says_how_long_is_obeyed() -> None:
    assert of_error("TooManyRequestsException", 429, "", {"retry-after": "9"}).retry_after == 9


URL = {"endpoint_url": "https://email.eu-west-1.amazonaws.com"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (boto.EndpointConnectionError(**URL), RETRY),
        (boto.ConnectTimeoutError(**URL), RETRY),
        (boto.ProxyConnectionError(proxy_url="http://proxy"), RETRY),
        (boto.NoCredentialsError(), RETRY),
        (boto.SSLError(**URL, error="[SSL: CERTIFICATE_VERIFY_FAILED]"), RETRY),
        (boto.SSLError(**URL, error="[SSL: WRONG_VERSION_NUMBER]"), RETRY),
        (boto.SSLError(**URL, error="[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"), UNKNOWN),
        (boto.ReadTimeoutError(**URL), UNKNOWN),
        (boto.ConnectionClosedError(**URL), UNKNOWN),
        (boto.HTTPClientError(error="something"), UNKNOWN),
        (boto.ParamValidationError(report="bad"), REJECTED),
        (boto.ClientError({"Error": {"Code": "MessageRejected"}}, "SendEmail"), REJECTED),
        (ValueError("no JSON"), UNKNOWN),
    ],
)
def test_what_boto3_raises_says_whether_anything_was_written(error: Exception, kind: OutcomeKind) -> None:
    assert of_failure(error).kind is kind


GOOD: dict[str, Any] = {
    "EnforcementStatus": "HEALTHY",
    "SendingEnabled": True,
    "ProductionAccessEnabled": True,
    "SendQuota": {"Max24HourSend": 200.0, "SentLast24Hours": 199.0},
}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, None),
        ({"EnforcementStatus": "PROBATION"}, None),
        ({"EnforcementStatus": "SHUTDOWN"}, "shut"),
        ({"SendingEnabled": False}, "paused"),
        ({"ProductionAccessEnabled": False}, "sandbox"),
        ({"SendQuota": {"Max24HourSend": 200.0, "SentLast24Hours": 200.0}}, "the 200 mails"),
        ({"SendQuota": {"Max24HourSend": -1.0, "SentLast24Hours": 9e9}}, None),
    ],
)
def test_a_check_says_what_keeps_the_account_from_sending(changed: dict[str, Any], says: str | None) -> None:
    found = in_check({**GOOD, **changed})

    assert found is None if says is None else says in str(found)
