from dataclasses import replace
from datetime import timedelta

import pytest

from domain.channels import Channel
from domain.messages import MessageClass
from domain.profiles import SuppressionReason
from domain.reach import Way, best
from tests.people import NOON

MARKETING, TRANSACTIONAL = MessageClass.MARKETING, MessageClass.TRANSACTIONAL
EMAIL = Way(Channel.EMAIL, "ada@example.com", consent=True)
SMS = Way(Channel.SMS, "+491701234567", consent=True)
WHATSAPP = Way(Channel.WHATSAPP, "+491701234567", consent=True)


def taken(*ways: Way, message_class: MessageClass = TRANSACTIONAL) -> Channel | None:
    way, why = best(ways, message_class)
    assert why.endswith(".")
    return way.channel if way else None


def test_without_a_reaction_email_comes_first_then_whatsapp_then_sms() -> None:
    assert taken(SMS, WHATSAPP, EMAIL) is Channel.EMAIL
    assert taken(SMS, WHATSAPP) is Channel.WHATSAPP
    assert taken(SMS) is Channel.SMS


def test_the_channel_of_the_last_reaction_wins() -> None:
    sms = replace(SMS, reacted_at=NOON)
    email = replace(EMAIL, reacted_at=NOON - timedelta(days=1))

    assert best([email, sms], TRANSACTIONAL) == (
        sms,
        "By sms, on which they last reacted, on 2026-03-01.",
    )
    assert taken(email, replace(sms, routed=False)) is Channel.EMAIL


def test_where_they_said_stop_is_the_last_way_though_they_reacted_there() -> None:
    stopped = replace(SMS, suppressed=SuppressionReason.UNSUBSCRIBED, reacted_at=NOON)

    assert best([stopped, EMAIL], TRANSACTIONAL)[0] == EMAIL
    assert best([replace(EMAIL, suppressed=SuppressionReason.UNSUBSCRIBED), SMS], TRANSACTIONAL) == (
        SMS,
        "By sms, the first that is open (email: unsubscribed).",
    )
    assert taken(stopped) is Channel.SMS


@pytest.mark.parametrize(
    ("shut", "why"),
    [
        (replace(EMAIL, address=None), "no address"),
        (replace(EMAIL, suppressed=SuppressionReason.HARD_BOUNCE), "suppressed (hard bounce)"),
        (replace(EMAIL, routed=False), "no route"),
    ],
)
def test_what_is_shut_is_passed_over_and_named(shut: Way, why: str) -> None:
    assert best([shut, SMS], TRANSACTIONAL) == (SMS, f"By sms, the first that is open (email: {why}).")
    assert best([shut], TRANSACTIONAL) == (None, f"Nothing reaches this person now: email: {why}.")


def test_consent_and_an_unsubscribe_count_for_marketing_only() -> None:
    unasked = replace(EMAIL, consent=False)
    gone = replace(EMAIL, suppressed=SuppressionReason.UNSUBSCRIBED)

    assert (taken(unasked), taken(gone)) == (Channel.EMAIL, Channel.EMAIL)
    assert taken(unasked, SMS, message_class=MARKETING) is Channel.SMS
    assert taken(gone, SMS, message_class=MARKETING) is Channel.SMS
