"""A domain is set up, publishes what it was told to, and is believed from then on."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from httpx2 import AsyncClient
from sqlalchemy import text

from channels.dns import Dns
from lab.dns import DnsLab
from models.base import Sessions
from tests.api.people import Person, an_owner, mailed, stack_of
from tests.api.support import created, refusal

NAME = "records.example"
NEWS = f"news@{NAME}"


@pytest.fixture
async def dns() -> AsyncIterator[DnsLab]:
    async with DnsLab() as lab:
        yield lab


@pytest.fixture
async def owner(nobody: AsyncClient, sessions: Sessions, dns: DnsLab) -> Person:
    stack = stack_of(nobody)
    stack.published = Dns(f"127.0.0.1:{dns.port}")
    settings = {"bounce_host": "bounces.mail.example", "spf_mechanism": "include:spf.mail.example"}
    settings["public_url"] = "https://mail.example"
    stack.settings = stack.settings.model_copy(update=settings)
    return await an_owner(nobody, sessions, "owner@example.com")


async def a_domain(owner: Person, name: str = NAME, **values: Any) -> dict[str, Any]:
    return await created(await owner.post("/domains", {"name": name, **values}))


def publish(dns: DnsLab, domain: dict[str, Any]) -> None:
    for record in domain["publish"]:
        if record["type"] == "TXT":
            dns.text(record["name"], record["value"])
        else:
            dns.host(record["name"], record["type"], record["value"])


async def check(owner: Person, domain: dict[str, Any]) -> dict[str, Any]:
    return await created(await owner.post(f"/domains/{domain['id']}/check"))


def standing(domain: dict[str, Any]) -> dict[str, str]:
    return {each["about"]: each["standing"] for each in domain["findings"]}


async def test_a_new_domain_is_told_what_to_publish(owner: Person) -> None:
    made = await a_domain(owner, "Records.Example.")

    assert (made["name"], made["verified"], made["findings"]) == (NAME, False, [])
    lines = {each["about"]: each for each in made["publish"]}
    assert {*lines} == {"dkim", "spf", "dmarc", "return path", "tracking"}
    assert lines["dkim"]["value"].startswith("v=DKIM1; k=rsa; p=")
    assert lines["spf"]["value"] == "v=spf1 include:spf.mail.example -all"
    assert [about for about, each in lines.items() if not each["required"]] == ["tracking"]
    assert (await owner.get(f"/domains/{made['id']}")).json() == made
    assert (await owner.get("/domains")).json()["items"] == [made]


async def test_a_domain_is_verified_once_it_publishes_its_key(owner: Person, dns: DnsLab) -> None:
    made = await a_domain(owner)
    before = await check(owner, made)
    assert {*standing(before).values()} == {"missing"}
    assert not before["verified"]

    publish(dns, made)
    after = await check(owner, made)
    assert {*standing(after).values()} == {"ok"}
    assert after["verified"]

    dns.silent = True
    assert (await check(owner, made))["verified"], "Nobody said that the key is gone."
    dns.silent = False
    dns.records.clear()
    assert not (await check(owner, made))["verified"]


async def test_somebody_elses_key_verifies_nothing(
    owner: Person, dns: DnsLab, nobody: AsyncClient, sessions: Sessions
) -> None:
    mine, theirs = await a_domain(owner), await a_domain(await an_owner(nobody, sessions, "eve@example.com"))
    publish(dns, mine)

    assert mine["publish"][0]["name"] != theirs["publish"][0]["name"]
    dns.text(mine["publish"][0]["name"], theirs["publish"][0]["value"])
    assert not (await check(owner, mine))["verified"]


async def test_addresses_of_a_verified_domain_and_below_it_need_no_link(
    owner: Person, dns: DnsLab, sessions: Sessions
) -> None:
    waiting = await created(await owner.post("/senders", {"email": NEWS}))
    assert waiting["state"] == "waiting"
    made = await a_domain(owner)
    publish(dns, made)
    await check(owner, made)

    assert (await owner.get(f"/senders/{waiting['id']}")).json()["domain_id"] == made["id"]
    below = await created(await owner.post("/senders", {"email": f"ada@shop.{NAME}"}))
    assert (below["state"], below["domain_id"]) == ("verified", made["id"])
    beside = await created(await owner.post("/senders", {"email": f"ada@not{NAME}"}))
    assert beside["state"] == "waiting"
    assert await mailed(sessions, f"ada@shop.{NAME}", "verify sender") == []
    workspace = await created(await owner.patch("/workspace", {"sender_email": NEWS}))
    assert workspace["sender_verified"]


async def test_a_domain_that_vouches_for_the_sender_in_use_is_kept(owner: Person, dns: DnsLab) -> None:
    made = await a_domain(owner)
    publish(dns, made)
    await check(owner, made)
    await created(await owner.patch("/workspace", {"sender_email": NEWS}))
    at = f"/domains/{made['id']}"

    assert NEWS in refusal(await owner.delete(at), 409)["detail"]
    await created(await owner.patch("/workspace", {"sender_email": None}))
    assert (await owner.delete(at)).status_code == 204
    [sender] = (await owner.get("/senders")).json()["items"]
    assert (sender["state"], sender["domain_id"]) == ("waiting", None)
    refusal(await owner.get(at), 404)


async def test_a_domain_that_lost_its_key_lets_go_of_whom_it_alone_vouched_for(
    owner: Person, dns: DnsLab, sessions: Sessions
) -> None:
    wide, narrow = await a_domain(owner), await a_domain(owner, f"shop.{NAME}")
    publish(dns, wide)
    publish(dns, narrow)
    await check(owner, wide)
    await check(owner, narrow)
    news = await created(await owner.post("/senders", {"email": NEWS}))
    ada = await created(await owner.post("/senders", {"email": f"ada@shop.{NAME}"}))
    await created(await owner.patch("/workspace", {"sender_email": NEWS}))
    dns.records.clear()
    publish(dns, wide)

    after = await check(owner, narrow)
    assert not after["verified"]
    assert "vouches" not in str(after["findings"])
    assert (await owner.get(f"/senders/{ada['id']}")).json()["domain_id"] == wide["id"]

    dns.records.clear()
    after = await check(owner, wide)
    [says] = [each["says"] for each in after["findings"] if each["about"] == "dkim"]
    assert f"Nobody vouches for {NEWS}, ada@shop.{NAME} any more" in says
    assert (await owner.get(f"/domains/{wide['id']}")).json() == after
    for sender in (news, ada):
        now = (await owner.get(f"/senders/{sender['id']}")).json()
        assert (now["state"], now["domain_id"], now["default"]) == ("waiting", None, False)
    assert not (await owner.get("/workspace")).json()["sender_verified"]

    publish(dns, wide)
    await check(owner, wide)
    assert (await owner.get("/workspace")).json()["sender_verified"]


async def test_who_followed_a_link_needs_no_domain(owner: Person, dns: DnsLab, sessions: Sessions) -> None:
    made = await a_domain(owner)
    news = await created(await owner.post("/senders", {"email": NEWS}))
    publish(dns, made)
    await check(owner, made)
    [token] = await mailed(sessions, NEWS, "verify sender")
    yes = await owner.api.post("/accounts/sender", data={"token": token}, headers={"Authorization": ""})
    assert yes.status_code == 200, yes.text
    dns.records.clear()

    assert not (await check(owner, made))["verified"]
    now = (await owner.get(f"/senders/{news['id']}")).json()
    assert (now["state"], now["domain_id"]) == ("verified", None)


@pytest.mark.parametrize(
    "name", ["records", "a b.example", "-x.example", "1.2.3.4", "x" * 64 + ".example", "."]
)
async def test_what_is_no_domain_is_refused(owner: Person, name: str) -> None:
    problem = refusal(await owner.post("/domains", {"name": name}), 422)

    assert problem["errors"][0]["pointer"] == "/name"


async def test_a_domain_is_set_up_once_and_in_ascii(owner: Person) -> None:
    made = await a_domain(owner, "bücher.example", key="ed25519")

    assert made["name"] == "xn--bcher-kva.example"
    assert "k=ed25519" in made["publish"][0]["value"]
    assert made["id"] in refusal(await owner.post("/domains", {"name": "Bücher.example"}), 409)["detail"]


async def test_its_key_is_sealed_and_in_no_answer_and_no_line_of_the_audit_log(
    owner: Person, sessions: Sessions
) -> None:
    made = await a_domain(owner)

    async with sessions(UUID(owner.workspace or "")) as db:
        [kept] = await db.scalars(text("select dkim_key from domains"))
    assert kept.startswith("v1.")
    assert "PRIVATE KEY" in stack_of(owner.api).sealer.open(kept, f"domain:{made['id']}")
    for answer in (await owner.get("/domains"), await owner.get("/audit-log")):
        assert kept not in answer.text
        assert "PRIVATE" not in answer.text
        assert "dkim_key" not in answer.text


async def test_an_installation_without_a_name_says_so_instead_of_an_alias_to_a_number(owner: Person) -> None:
    stack = stack_of(owner.api)
    stack.settings = stack.settings.model_copy(update={"public_url": "http://127.0.0.1:8000"})

    made = await check(owner, await a_domain(owner))

    [line] = [each for each in made["publish"] if each["about"] == "tracking"]
    [found] = [each for each in made["findings"] if each["about"] == "tracking"]
    assert (line["value"], line["required"]) == ("", False)
    assert line["why"].startswith("Set PUBLIC_URL first")
    assert found["says"] == line["why"]
