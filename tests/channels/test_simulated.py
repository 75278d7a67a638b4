"""The provider for trials: everything is accepted, and nine of ten are delivered."""

from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import pytest

from channels.contract import Blame, Hook, NotGenuine, OutcomeKind, ReportKind
from channels.simulated import KINDS, SimulatedSettings, receipt, receipts
from domain.channels import Channel
from tests.channels.calls_support import ALetter, an_account, envelope

NOW = datetime(2026, 11, 26, tzinfo=UTC)
MANY = [UUID(int=number) for number in range(2_000)]


def test_there_is_one_for_each_channel() -> None:
    assert [kind.channel for kind in KINDS] == list(Channel)
    assert KINDS[0].name == "simulated"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
async def test_whatever_can_be_written_is_accepted(kind: object) -> None:
    async with an_account(kind, SimulatedSettings()) as provider:  # type: ignore[arg-type]
        yes, no = await provider.send(ALetter(), [envelope(1, "somebody"), envelope(2, "x", "broken")])
        assert await provider.check() is None

    assert (yes.kind, no.kind, no.blame) == (OutcomeKind.ACCEPTED, OutcomeKind.REJECTED, Blame.MESSAGE)


def test_nine_of_ten_are_delivered_and_the_seed_says_which() -> None:
    told = [receipt(each, 1) for each in MANY]

    assert 0.88 < Counter(told)[ReportKind.DELIVERED] / len(MANY) < 0.92
    assert set(told) == {ReportKind.DELIVERED, ReportKind.FAILED}
    assert told == [receipt(each, 1) for each in MANY] != [receipt(each, 2) for each in MANY]


async def test_its_receipts_are_read_as_reports() -> None:
    async with an_account(KINDS[0], SimulatedSettings(seed=1)) as provider:
        reports = provider.reports(Hook("POST", "", {}, receipts(MANY[:20], 1, NOW)))

    assert [report.message_id for report in reports] == MANY[:20]
    assert {report.at for report in reports} == {NOW}
    assert [report.kind for report in reports] == [receipt(each, 1) for each in MANY[:20]]


async def test_nobody_outside_can_say_what_became_of_a_message() -> None:
    async with an_account(KINDS[0], SimulatedSettings()) as provider:
        with pytest.raises(NotGenuine):
            await provider.verify(Hook("POST", "", {}, receipts(MANY[:1], 0, NOW)), NOW)
        for body in (b"what?", b"{}", b'{"receipts": [{"status": "odd"}]}'):
            with pytest.raises(ValueError):  # noqa: PT011 - that it is one is the contract.
                provider.reports(Hook("POST", "", {}, body))
