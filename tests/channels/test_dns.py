"""What domains publish, asked of a real name server and told in words."""

from collections.abc import AsyncIterator

import pytest

from channels import dkim
from channels.dns import Dns, look
from domain.sending_domains import About, Finding, Ground, Standing, to_publish
from lab.dns import DnsLab

KEY = dkim.record_of(dkim.new_key())
OTHER = dkim.record_of(dkim.new_key())
GROUND = Ground("include:spf.mail.example", "bounces.mail.example", "track.mail.example")
RECORDS = to_publish("news.shop.example", "bell", KEY, GROUND)
AT = {record.about: record.name for record in RECORDS}
OK, MISSING, WRONG, UNKNOWN = Standing


@pytest.fixture
async def lab() -> AsyncIterator[DnsLab]:
    async with DnsLab() as lab:
        for record in RECORDS:
            if record.type == "TXT":
                lab.text(record.name, record.value)
            else:
                lab.host(record.name, record.type, record.value)
        yield lab


async def found(lab: DnsLab) -> dict[About, Finding]:
    findings = await look(RECORDS, Dns(f"127.0.0.1:{lab.port}"))
    assert [each.about for each in findings] == [record.about for record in RECORDS]
    return {each.about: each for each in findings}


def test_what_to_publish_is_said_line_by_line() -> None:
    assert [(each.type, each.name, each.value) for each in RECORDS] == [
        ("TXT", "bell._domainkey.news.shop.example", KEY),
        ("TXT", "_dmarc.news.shop.example", "v=DMARC1; p=none"),
        ("TXT", "bounces.news.shop.example", "v=spf1 include:spf.mail.example -all"),
        ("MX", "bounces.news.shop.example", "10 bounces.mail.example."),
        ("CNAME", "click.news.shop.example", "track.mail.example."),
    ]


def test_without_a_mailbox_for_bounces_the_domain_itself_has_the_policy() -> None:
    records = to_publish("shop.example", "bell", KEY, Ground("a:mail.example", "", "track.mail.example"))

    [spf] = [each for each in records if each.about is About.SPF]
    assert (spf.name, spf.value) == ("shop.example", "v=spf1 a:mail.example ~all")
    assert About.RETURN_PATH not in {each.about for each in records}


async def test_a_domain_that_publishes_all_of_it_is_fine(lab: DnsLab) -> None:
    assert {about: each.standing for about, each in (await found(lab)).items()} == dict.fromkeys(About, OK)


async def test_a_domain_that_publishes_nothing_is_told_all_that_is_missing(lab: DnsLab) -> None:
    lab.records.clear()

    findings = await found(lab)
    assert {each.standing for each in findings.values()} == {MISSING}
    assert all("publish it" in each.says for each in findings.values())


async def test_a_name_server_that_does_not_answer_says_nothing_about_the_domain(
    lab: DnsLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.silent = True
    monkeypatch.setattr("channels.dns.SECONDS", 0.3)

    findings = await found(lab)
    assert {each.standing for each in findings.values()} == {UNKNOWN}


@pytest.mark.parametrize(
    ("about", "texts", "standing", "says"),
    [
        (About.DKIM, [OTHER], WRONG, "Another key"),
        (About.DKIM, [KEY[:250]], WRONG, "a part of ours"),
        (About.DKIM, ["v=DKIM1; k=rsa; p="], WRONG, "revoked"),
        (About.DKIM, [KEY, OTHER], WRONG, "2 keys"),
        (About.DKIM, ["some other text"], MISSING, "no key"),
        (About.DKIM, [KEY.replace("; ", ";").replace("p=", "p= ")], OK, "signed"),
        (About.SPF, ["v=spf1 mx -all"], WRONG, "add include:spf.mail.example"),
        (About.SPF, ["v=spf1 include:spf.mail.example +all"], WRONG, "everybody"),
        (About.SPF, ["v=spf1 -all", "v=spf1 include:spf.mail.example -all"], WRONG, "2 SPF policies"),
        (About.SPF, ["V=SPF1 mx +Include:SPF.mail.example ?all"], OK, "may send"),
        (About.SPF, ["v=spf10 include:spf.mail.example -all"], MISSING, "no SPF policy"),
        (About.DMARC, ["v=DMARC1; rua=mailto:ada@shop.example"], WRONG, "p=none"),
        (About.DMARC, ["v=DMARC1; p=none", "v=DMARC1; p=reject"], WRONG, "2 DMARC policies"),
        (About.DMARC, ["v=DMARC1;p=reject; pct=50"], OK, "refused"),
    ],
)
async def test_what_stands_there_is_judged_in_words(
    lab: DnsLab, about: About, texts: list[str], standing: Standing, says: str
) -> None:
    lab.text(AT[about], *texts)

    finding = (await found(lab))[about]
    assert (finding.standing, finding.name) == (standing, AT[about])
    assert says in finding.says


async def test_a_policy_above_the_domain_counts_where_it_has_none(lab: DnsLab) -> None:
    del lab.records[AT[About.DMARC], "TXT"]
    lab.text("_dmarc.shop.example", "v=DMARC1; p=quarantine")

    finding = (await found(lab))[About.DMARC]
    assert finding.standing is OK
    assert "It is that of shop.example." in finding.says


@pytest.mark.parametrize(("about", "type_"), [(About.RETURN_PATH, "MX"), (About.TRACKING, "CNAME")])
async def test_a_name_that_leads_elsewhere_is_told_where_it_must_lead(
    lab: DnsLab, about: About, type_: str
) -> None:
    lab.host(AT[about], type_, "10 mx.evil.example." if type_ == "MX" else "evil.example.")

    finding = (await found(lab))[about]
    assert finding.standing is WRONG
    assert "it must be" in finding.says
