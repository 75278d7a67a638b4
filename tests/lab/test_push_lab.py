"""A push service in the lab opens what a browser could open, and refuses what a real one refuses."""

import json
import time
from typing import Any

import pytest
from py_vapid import Vapid
from pywebpush import WebPushException, webpush

from lab.app import ProviderLab
from lab.subscriptions import b64, point
from tests.lab.clients import ask, called


def a_key() -> Any:
    key = Vapid()
    key.generate_keys()
    return key


def push(subscription: dict[str, Any], key: Any, payload: str = '{"message": "m1"}', **changes: Any) -> Any:
    """Blocks."""
    claims = {"sub": "mailto:ada@shop.example", **changes.pop("claims", {})}
    options = {"ttl": 60, "timeout": 5, **changes}
    return webpush(subscription, payload, vapid_private_key=key, vapid_claims=claims, **options)


async def subscribed(lab: ProviderLab, **wish: str) -> dict[str, Any]:
    found = (await ask("POST", f"{lab.url}/lab/subscriptions", json=wish)).json()
    assert isinstance(found, dict)
    return found


async def test_the_payload_is_what_the_browser_would_read() -> None:
    async with ProviderLab() as lab:
        browser = await subscribed(lab)
        payload = json.dumps({"message": "m1", "title": "Grüße"}, ensure_ascii=False)
        answer = await called(push, browser, a_key(), payload, headers={"urgency": "high", "topic": "cart"})
        assert answer.status_code == 201
        [one] = lab.accepted("push")
        assert (one.own, one.recipient) == ("m1", browser["endpoint"])
        assert lab.content(one) == {"payload": payload, "ttl": "60", "urgency": "high", "topic": "cart"}


async def test_a_browser_that_left_is_gone_and_one_that_never_was_is_unknown() -> None:
    async with ProviderLab() as lab:
        browser = await subscribed(lab)
        id_ = browser["endpoint"].rpartition("/")[2]
        await ask("DELETE", f"{lab.url}/lab/subscriptions/{id_}")
        stranger = {**browser, "endpoint": f"{browser['endpoint']}x"}
        for one, status in ((browser, 410), (stranger, 404)):
            with pytest.raises(WebPushException) as caught:
                await called(push, one, a_key())
            assert caught.value.status_code == status


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"claims": {"exp": int(time.time()) + 90_000}}, 403),
        ({"claims": {"aud": "https://elsewhere.example"}}, 403),
        ({"content_encoding": "aesgcm"}, 400),
        ({"headers": {"urgency": "now"}}, 400),
        ({"headers": {"topic": "x" * 33}}, 400),
        ({"payload": "x" * 4100}, 413),
    ],
)
async def test_what_breaks_a_rule_is_refused(changes: dict[str, Any], status: int) -> None:
    async with ProviderLab() as lab:
        with pytest.raises(WebPushException) as caught:
            await called(push, await subscribed(lab), a_key(), **changes)
        assert caught.value.status_code == status
        assert lab.accepted() == []


async def test_a_token_that_is_over_is_refused() -> None:
    async with ProviderLab() as lab:
        endpoint = (await subscribed(lab))["endpoint"]
        claims = {"sub": "mailto:ada@shop.example", "aud": lab.url, "exp": int(time.time()) - 1}
        answer = await ask("POST", endpoint, headers={"TTL": "1", **a_key().sign(claims)})
        assert (answer.status_code, answer.json()["code"]) == (403, 403)


async def test_a_subscription_is_for_the_key_that_it_was_made_for() -> None:
    async with ProviderLab() as lab:
        ours = a_key()
        browser = await subscribed(lab, server_key=b64(point(ours.public_key)))
        assert (await called(push, browser, ours)).status_code == 201
        with pytest.raises(WebPushException, match="another server key"):
            await called(push, browser, a_key())


async def test_without_a_token_or_a_ttl_or_encryption_nothing_goes() -> None:
    async with ProviderLab() as lab:
        endpoint = (await subscribed(lab))["endpoint"]
        assert (await ask("POST", endpoint, content=b"x", headers={"TTL": "1"})).status_code == 401
        other = await subscribed(lab)
        with pytest.raises(WebPushException, match="encrypted"):
            await called(push, {**other, "endpoint": endpoint}, a_key())


async def test_faults_end_a_subscription_or_ask_for_patience() -> None:
    async with ProviderLab() as lab:
        browser = await subscribed(lab)
        lab.fail("push", code=410, times=1)
        lab.fail("push", status=429, times=1)
        for status in (410, 429):
            with pytest.raises(WebPushException) as caught:
                await called(push, browser, a_key())
            assert caught.value.status_code == status
        assert caught.value.retry_after == "1"
