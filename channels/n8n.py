"""n8n, as one looks after it: whether it answers, its version, its workflows, and what failed there.

Of what it answers, only what is listed here goes on, each bounded. Its public API is asked where there is a
key for it (https://docs.n8n.io/api/), its metrics where it shows them (`N8N_METRICS=true`).
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from httpx2 import HTTPError, Response

from channels.egress import EgressClient, EgressRefused, EgressTransport
from domain.integrations import TITLE, version_in, workflow_of

SECONDS = 5.0  # For all of a look.
MOST = 10  # Failed executions.
_LONGEST = 200  # Characters of what n8n says.


@dataclass(frozen=True)
class Workflow:
    """One of ours, in n8n."""

    name: str
    id: str
    active: bool


@dataclass(frozen=True)
class FailedExecution:
    id: str
    workflow_id: str
    workflow: str | None  # Which of ours.
    started_at: datetime | None
    stopped_at: datetime | None


@dataclass(frozen=True)
class Look:
    """What was found. None where it could not be asked; `reason` and `api_reason` say why."""

    reachable: bool
    reason: str | None = None
    version: str | None = None
    api_reason: str | None = None
    workflows: list[Workflow] | None = None
    failed: list[FailedExecution] | None = None


class Refused(Exception):
    """n8n did not answer as it should; the message is a sentence."""


async def look(guard: EgressTransport, url: str, api_key: str | None) -> Look:
    """Ask n8n at this address; side by side, so that it takes as long as the slowest of it."""
    async with EgressClient(guard) as client:
        asked = await asyncio.gather(
            _within(_health(client, url)),
            _within(_version(client, url)),
            _within(_workflows(client, url, api_key)),
            _within(_failed(client, url, api_key)),
        )
    healthy, version, workflows, failed = asked
    if isinstance(healthy, Refused):
        return Look(False, str(healthy))
    said = next((str(each) for each in (workflows, failed) if isinstance(each, Refused)), None)
    return Look(
        True,
        None,
        None if isinstance(version, Refused) else version,
        said,
        None if isinstance(workflows, Refused) else workflows,
        None if isinstance(failed, Refused) else failed,
    )


async def _within(asking: Any) -> Any:
    """The answer, or a `Refused`."""
    try:
        async with asyncio.timeout(SECONDS):
            return await asking
    except TimeoutError:
        return Refused(f"n8n did not answer within {SECONDS:g} seconds.")
    except EgressRefused as refused:
        return Refused(refused.message)
    except HTTPError:
        return Refused("n8n can't be reached at this address.")
    except Refused as refused:
        return refused


async def _health(client: EgressClient, url: str) -> bool:
    answer = await client.get(f"{url}/healthz")
    if answer.status_code != 200 or _json(answer).get("status") != "ok":
        raise Refused(
            f"There is something at this address, but no n8n: /healthz answered {answer.status_code}."
        )
    return True


async def _version(client: EgressClient, url: str) -> str | None:
    answer = await client.get(f"{url}/metrics")
    return version_in(answer.content.decode(errors="replace")) if answer.status_code == 200 else None


async def _workflows(client: EgressClient, url: str, api_key: str | None) -> list[Workflow]:
    asked = {"name": TITLE.strip(": "), "limit": 100, "excludePinnedData": True}
    found: dict[str, Workflow] = {}
    for each in await _page(client, f"{url}/api/v1/workflows", api_key, asked):
        id_, name = _text(each, "id"), _text(each, "name")
        ours = workflow_of(id_, name)
        if ours and not each.get("isArchived"):
            one = Workflow(ours, id_, each.get("active") is True)
            if ours not in found or one.active:  # Of copies, the one that works.
                found[ours] = one
    return list(found.values())


async def _failed(client: EgressClient, url: str, api_key: str | None) -> list[FailedExecution]:
    asked = {"status": "error", "limit": MOST, "includeData": False}
    return [
        FailedExecution(
            _text(each, "id"),
            _text(each, "workflowId"),
            workflow_of(_text(each, "workflowId"), ""),
            _time(each, "startedAt"),
            _time(each, "stoppedAt"),
        )
        for each in (await _page(client, f"{url}/api/v1/executions", api_key, asked))[:MOST]
    ]


async def _page(
    client: EgressClient, url: str, api_key: str | None, asked: dict[str, Any]
) -> list[dict[str, Any]]:
    if not api_key:
        raise Refused("There is no key of n8n's API here: PUT one as `api_key` to see its workflows.")
    answer = await client.get(url, params=asked, headers={"X-N8N-API-KEY": api_key})
    if answer.status_code in (401, 403):
        raise Refused(
            "n8n does not take this key of its API, or the key may not list workflows and executions."
        )
    items = _json(answer).get("data")
    if answer.status_code != 200 or not isinstance(items, list):
        raise Refused(f"n8n's API answered {answer.status_code}.")
    return [each for each in items if isinstance(each, dict)]


def _json(answer: Response) -> dict[str, Any]:
    try:
        said = answer.json()
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _text(said: dict[str, Any], name: str) -> str:
    return str(said.get(name) or "")[:_LONGEST].encode(errors="replace").decode()  # No halves of letters.


def _time(said: dict[str, Any], name: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(_text(said, name))
    except ValueError:
        return None
    return at if at.tzinfo else None
