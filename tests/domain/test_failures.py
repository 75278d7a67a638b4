"""Whose matter a failure is: the table, and what reasons may say."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from domain import alerts
from domain.channels import Channel
from domain.failures import Category, Failure, Subject, discreet, gist
from domain.remedies import OPTED_OUT, REMEDIES, Line, of_delivery, of_message, of_provider, sort_out
from domain.retries import Line as Ledger
from domain.retries import why_not

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("said", "blame", "category"),
    [
        ("550 5.1.1 No such user", "recipient", Category.ADDRESS),
        ("550 5.1.1 No such user", None, Category.ADDRESS),
        ("554 5.2.1 Mailbox disabled", None, Category.ADDRESS),
        ("552 5.3.4 Message too big", "message", Category.CONTENT),
        ("554 5.6.0 Bad MIME", None, Category.CONTENT),
        ("sender: 535 5.7.8 Authentication failed", "provider", Category.CONFIGURATION),
        ("550 5.7.1 Relaying denied", "provider", Category.CONFIGURATION),
        ("553 5.1.8 Sender address rejected", None, Category.CONFIGURATION),
        ("sender: SendGrid answered 401: The provided authorization grant is invalid", "provider",
         Category.CONFIGURATION),
        ("SendGrid answered 429: too many requests", "provider", Category.LIMIT),
        ("SES: Throttling Maximum sending rate exceeded.", "provider", Category.LIMIT),
        ("Sent 14290 bytes and heard nothing", "provider", Category.PROVIDER),
        ("451 4.3.2 The system is shutting down", "provider", Category.PROVIDER),
        ("Nobody there: connection refused", "provider", Category.PROVIDER),
        ("63016 Outside the window of 24 hours", "message", Category.CONTENT),
    ],
)  # fmt: skip
def test_what_was_said_tells_whose_matter_it_is(said: str, blame: str | None, category: Category) -> None:
    assert sort_out(said, blame) is category


def test_who_opted_out_is_not_said_to_have_a_wrong_address() -> None:
    stopped = of_message(line(reason="21610: Attempt to send to unsubscribed recipient"), "recipient")
    gone = of_message(line(reason="550 5.1.1 No such user"), "recipient")

    assert (stopped.category, stopped.remedy) == (Category.ADDRESS, OPTED_OUT)
    assert (gone.category, gone.remedy) == (Category.ADDRESS, REMEDIES[Category.ADDRESS])


def line(**values: Any) -> Line:
    known: dict[str, Any] = {
        "id": uuid4(),
        "state": "failed",
        "reason": "451 4.3.2 Not now",
        "detail": None,
        "fate": None,
        "channel": "email",
        "message_class": "marketing",
        "step": "send",
        "attempts": 36,
        "source_kind": "campaign",
        "source_id": UUID(int=1),
        "provider_id": UUID(int=2),
    }
    return Line(**known | values)


@pytest.mark.parametrize(
    ("values", "category", "retryable", "occasion"),
    [
        ({}, Category.PROVIDER, True, "failed"),
        ({"reason": None}, Category.PROVIDER, True, "failed"),
        ({"reason": "550 5.1.1 Nobody"}, Category.ADDRESS, False, "failed"),
        ({"state": "unknown", "reason": "the worker stopped"}, Category.PROVIDER, False, "unknown"),
        (
            {"state": "skipped", "reason": "template error", "detail": "It lacks a name."},
            Category.CONTENT, True, "skipped",
        ),
        ({"state": "accepted", "fate": "hard bounce", "reason": None}, Category.ADDRESS, False, "failed"),
        ({"state": "accepted", "fate": "failed", "reason": "spam"}, Category.PROVIDER, False, "failed"),
        ({"fate": "failed"}, Category.PROVIDER, False, "failed"),
    ],
)  # fmt: skip
def test_a_line_of_the_ledger_is_a_failure_with_a_remedy(
    values: dict[str, Any], category: Category, retryable: bool, occasion: str
) -> None:
    failure = of_message(line(**values))

    assert (failure.category, failure.retryable, failure.occasion) == (category, retryable, occasion)
    assert failure.reason
    assert failure.remedy.endswith(".")


def test_reasons_name_nobody_and_hold_no_credential() -> None:
    said = discreet("550 <ada@shop.example> +49 151 12345678 SG.abcdefghijklmnopqrstuvwxyz012345678 no")

    assert said == "550 <…> … … no"
    named = "There is no segment 0199f3a0-52a1-7c31-9d5e-0f8c1d1a000d."
    assert discreet(named) == named
    assert len(discreet("x y " * 900)) == 500


@pytest.mark.parametrize("said", ["a" * 100_000, "'a`" * 30_000, "\\u" * 50_000, "1a" * 50_000])
def test_the_gist_takes_no_time_whatever_is_said(said: str) -> None:
    began = time.process_time()

    gist(said)

    assert time.process_time() - began < 1


def test_kinds_differ_in_words_and_not_in_numbers_names_and_ids() -> None:
    assert gist('452 4.2.2 Mailbox "ada" is full (q4Z81)') == gist('452 4.2.2 Mailbox "bob" is full (p9A22)')
    one, another = of_message(line(reason="451 One")), of_message(line(reason="451 Another"))
    assert one.kind != another.kind
    assert one.kind == of_message(line(reason="452 one", id=uuid4())).kind
    assert one.kind != of_message(line(reason="451 One", provider_id=None)).kind


def test_receivers_have_words_of_their_own_for_one_and_the_same() -> None:
    assert of_message(line(reason="550 5.1.1 Unknown")).kind == of_message(line(reason="550 5.1.1 Gone")).kind


@pytest.mark.parametrize(
    ("status", "final", "category"),
    [
        (500, False, Category.PROVIDER),
        (None, False, Category.PROVIDER),
        (None, True, Category.CONFIGURATION),
        (410, False, Category.CONFIGURATION),
        (429, False, Category.LIMIT),
    ],
)
def test_a_delivery_that_was_given_up(status: int | None, final: bool, category: Category) -> None:
    failure = of_delivery(UUID(int=1), UUID(int=2), "message.failed", "no", status, final=final)

    assert (failure.subject, failure.category, failure.quiet) == (Subject.WEBHOOK, category, False)


def test_what_tells_of_failures_does_not_tell_of_itself() -> None:
    assert of_delivery(UUID(int=1), UUID(int=2), "job.failed", "no").quiet


def test_a_breaker_names_whose_matter_it_is() -> None:
    assert of_provider(UUID(int=1), "sender: 535 no", "now").category is Category.CONFIGURATION
    assert of_provider(UUID(int=1), None, "now").category is Category.PROVIDER
    assert of_provider(UUID(int=1), "550 5.1.1 no", "now").category is Category.PROVIDER


def test_pauses_between_digests_grow_to_an_hour() -> None:
    assert [alerts.pause(n) for n in (1, 2, 5, 9)] == [
        timedelta(seconds=10),
        timedelta(minutes=1),
        timedelta(hours=1),
        timedelta(hours=1),
    ]
    assert Failure(Subject.OUTSIDE, "x", Category.OURS, "a", "b").kind


@pytest.mark.parametrize(
    ("values", "unknown", "why"),
    [
        ({}, False, None),
        ({"reported_at": NOW}, False, "accepted"),
        ({"state": "accepted"}, True, "accepted"),
        ({"state": "unknown"}, False, "unknown: true"),
        ({"state": "unknown"}, True, None),
        ({"state": "unknown", "reported_at": NOW}, True, "has it"),
        ({"state": "skipped", "reason": "template error"}, False, None),
        ({"state": "skipped", "reason": "no consent"}, True, "no consent"),
        ({"state": "sending"}, True, "on its way"),
        ({"step": "provider test"}, True, "try one provider"),
        ({"expires_at": NOW}, False, "time is over"),
        ({"has_person": False, "has_address": False}, False, "erased"),
        ({"has_person": False, "has_words": False}, False, "kept no longer"),
        ({"channel": "sms"}, False, "goes by sms"),
    ],
)
def test_what_may_be_sent_again(values: dict[str, Any], unknown: bool, why: str | None) -> None:
    known: dict[str, Any] = {
        "id": UUID(int=1),
        "state": "failed",
        "reason": None,
        "reported_at": None,
        "expires_at": None,
        "channel": "email",
        "step": "send",
        "source_kind": "campaign",
        "has_person": True,
        "has_address": True,
        "has_words": True,
    }
    said = why_not(Ledger(**known | values), NOW, unknown=unknown, channel=Channel.EMAIL)

    assert said is None if why is None else why in (said or "")
