"""What the API's tests begin with: a sender, a few people, a segment, a template, a campaign."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from httpx2 import AsyncClient, Response

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.profiles import Consent, Identity, Profile
from models.queries import verified_senders
from tests.people import NOON
from tests.support import OWNER_OF_ALL

KEY = OWNER_OF_ALL.key
V1 = "/api/v1"
EVERYBODY: dict[str, Any] = {"all": []}
NOBODY: dict[str, Any] = {"any": []}


async def a_profile(
    sessions: Sessions, email: str = "ada@example.com", tracking: bool = True, **attributes: Any
) -> UUID:
    """Somebody who agreed to marketing by email and, unless told otherwise, to being tracked."""
    async with sessions(DEFAULT_WORKSPACE) as db:
        profile = Profile(workspace_id=DEFAULT_WORKSPACE, attributes=attributes)
        db.add(profile)
        await db.flush()
        where = {"workspace_id": DEFAULT_WORKSPACE, "profile_id": profile.id}
        db.add(Identity(kind="email", value=email, **where))
        for purpose in ("email", *(["tracking"] if tracking else [])):
            db.add(Consent(purpose=purpose, state="granted", source="test", at=profile.created_at, **where))
    return profile.id


async def a_sender(api: AsyncClient) -> None:
    """The workspace can send, from an address that was verified before."""
    from tests.api.people import stack_of

    address = "ada@records.example"
    here = UUID((await created(await api.get(f"{V1}/workspace")))["id"])
    async with stack_of(api).sessions(here) as db:
        sender, _ = await verified_senders.put(db, here, address, NOON)
        sender.verified_at = NOON
    body = {"sender_email": address, "postal_address": "1 Groove Street, Springfield"}
    assert (await created(await api.patch(f"{V1}/workspace", json=body)))["sender_verified"]


async def a_segment(api: AsyncClient, rule: dict[str, Any] | None = None) -> str:
    body = {"name": "Everybody", "rule": EVERYBODY if rule is None else rule}
    return str((await created(await api.post(f"{V1}/segments", json=body)))["id"])


async def a_template(
    api: AsyncClient, html: str = '<p>Hello {{ first_name | default: "you" }}</p>', subject: str = "Hello"
) -> str:
    body = {"name": "Letter", "subject": subject, "html": html}
    return str((await created(await api.post(f"{V1}/templates", json=body)))["id"])


async def a_campaign(api: AsyncClient, **values: Any) -> str:
    body = {
        "name": values.get("name") or "Winter letter",
        "segment_id": values.get("segment_id") or await a_segment(api),
        "template_id": values.get("template_id") or await a_template(api),
    }
    return str((await created(await api.post(f"{V1}/campaigns", json=body)))["id"])


async def created(response: Response) -> dict[str, Any]:
    assert response.is_success, response.text
    body = response.json()
    assert isinstance(body, dict)
    return body


def soon(days: int = 2) -> str:
    """An instant so many days ahead."""
    return (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")


def refusal(response: Response, status: int) -> dict[str, Any]:
    """The problem of RFC 9457 that this response must be."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert isinstance(body, dict)
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    return body
