"""A workspace's accounts with providers: set up, tried out before they count, changed, deleted."""

import math
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, status
from pydantic import AfterValidator, Field, StringConstraints
from uuid_utils.compat import uuid7

from api.accounts import (
    changed_settings,
    is_ours,
    kind_named,
    kind_of,
    settings_of,
    webhook_url,
    what_is_wrong,
)
from api.callers import Asker, WorkspaceId, as_now, needs
from api.deps import Db, Pages
from api.etags import Unchanged
from api.manners import Feature
from api.shapes import In, Name, Out, Page, absent, example, page_of
from api.stack import Opened, Stack
from channels import credentials, registry
from channels.contract import Account, Capabilities, Kind
from domain.breakers import BreakerState, Standing
from domain.channels import Channel
from domain.errors import Conflict, Invalid, Stale
from domain.roles import Permission
from domain.routing import BUILT_IN, WarmUp
from models.providers import Provider
from models.queries import breakers, provider_accounts, queued

router = Feature(prefix="/providers", tags=["providers"])

FASTEST = 100_000.0  # Messages a second.
MOST_DOMAINS = 100
_ID = "0199f1c2-a4b0-7c1e-8d2f-3a4b5c6d7e8f"

Rate = Annotated[float, Field(gt=0, le=FASTEST, allow_inf_nan=False)]
Settings = dict[str, Any]
Check = Annotated[bool, Query(description="false saves the account without asking the provider about it.")]


def _domain(text: str) -> str:
    text = text.strip().lower()
    if not all(text.split(".")) or "." not in text or any(each.isspace() or each == "@" for each in text):
        raise ValueError("Write a domain, such as gmail.com")
    return text


Domain = Annotated[str, StringConstraints(max_length=253), AfterValidator(_domain)]


def _few(rates: dict[str, float]) -> dict[str, float]:
    if len(rates) > MOST_DOMAINS:
        raise ValueError(f"Name at most {MOST_DOMAINS} domains")
    return rates


DomainRates = Annotated[dict[Domain, Rate], AfterValidator(_few)]

_EXAMPLE: dict[str, Any] = {
    "name": "Trial",
    "kind": "simulated",
    "settings": {},
    "rate": 50.0,
    "domain_rates": {},
    "warm_up": {"starts_on": "2026-11-23", "days": [200, 500, 1000, 5000]},
}


class ProviderIn(In):
    name: Name
    kind: Annotated[str, StringConstraints(min_length=1, max_length=50)] = Field(
        description="GET /providers/kinds has them."
    )
    settings: Settings = Field(
        default_factory=dict, description="As the kind's schema says. Credentials are kept sealed."
    )
    rate: Rate | None = Field(None, description="Messages a second; the kind's own when left out.")
    domain_rates: DomainRates = Field(
        default_factory=dict, description="The same for recipients' domains, such as gmail.com; mail only."
    )
    warm_up: WarmUp | None = Field(
        None, description="How many messages on each of its first days; what is over goes by other routes."
    )

    model_config = example(_EXAMPLE)


class ProviderChange(In):
    """What to change; the rest stays, and so do settings that are left out, such as a credential."""

    name: Name = Field(default_factory=absent)
    settings: Settings = Field(default_factory=absent)
    rate: Rate | None = Field(default_factory=absent)
    domain_rates: DomainRates = Field(default_factory=absent)
    warm_up: WarmUp | None = Field(default_factory=absent)

    model_config = example({"name": "Trial, slower", "rate": 20.0})


class ProviderOut(Out):
    moving = frozenset({"state"})

    id: UUID
    name: str
    kind: str
    channel: Channel
    built_in: bool = Field(description="It comes with the installation: it can be held, and not changed.")
    settings: dict[str, Any] = Field(description='A credential is "set" or null, and never shown.')
    rate: float | None
    domain_rates: dict[str, float]
    warm_up: WarmUp | None
    webhook_url: str | None = Field(description="Enter it at the provider; null when it has no webhooks.")
    advice: list[str] = Field(description="What it lacks so that all can be known of its messages.")
    state: BreakerState = Field(description="GET /providers/{id}/health says more.")
    created_at: datetime | None
    updated_at: datetime | None

    model_config = example(
        _EXAMPLE
        | {
            "id": _ID,
            "channel": "email",
            "built_in": False,
            "webhook_url": f"https://campanile.example/hooks/{_ID}",
            "advice": [],
            "state": "closed",
            "created_at": "2026-11-21T09:00:00Z",
            "updated_at": "2026-11-21T09:00:00Z",
        }
    )


class Abilities(Out):
    largest_batch: int
    webhooks: bool = Field(description="Whether it reports what became of a message.")
    lookup: bool
    reports: list[str] = Field(description="What it may report.")
    attachments: bool


class KindOut(Out):
    name: str
    title: str
    channel: Channel
    settings: dict[str, Any] = Field(description="The JSON schema of its settings.")
    secrets: list[str] = Field(description="Which of them are credentials.")
    rate: float | None = Field(description="Messages a second where an account has no rate of its own.")
    capabilities: Abilities
    webhook_url: str | None = Field(description="Where its webhooks go; an account's own has its id.")


class Kinds(Out):
    items: list[KindOut]

    model_config = example(
        {
            "items": [
                {
                    "name": "sendgrid",
                    "title": "SendGrid",
                    "channel": "email",
                    "settings": {"type": "object", "required": ["api_key"], "properties": {"api_key": {}}},
                    "secrets": ["api_key"],
                    "rate": None,
                    "capabilities": {
                        "largest_batch": 1000,
                        "webhooks": True,
                        "lookup": False,
                        "reports": ["delivered", "hard bounce", "complained"],
                        "attachments": True,
                    },
                    "webhook_url": "https://campanile.example/hooks/{provider_id}",
                }
            ]
        }
    )


@router.get("/kinds", dependencies=[needs(Permission.PROVIDERS_READ)])
async def list_kinds(opened: Opened) -> Kinds:
    """The kinds of providers that there are, and what an account with each needs."""
    known = registry.kinds()
    return Kinds(items=[_shown_kind(opened, known[name]) for name in sorted(known)])


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[needs(Permission.PROVIDERS_WRITE)])
async def create_provider(
    body: ProviderIn, opened: Opened, asker: Asker, workspace_id: WorkspaceId, check: Check = True
) -> ProviderOut:
    """Set up an account. The provider is asked about it at once; a bad credential is refused here."""
    kind = kind_named(body.kind)
    _mail_alone(kind.channel, body.domain_rates)
    settings = settings_of(kind, body.settings)
    provider_id = uuid7()
    if check:
        await _try_out(opened, kind, Account(workspace_id, provider_id, settings))
    clear, secrets = credentials.parted(settings)
    values = {
        "name": body.name,
        "kind": kind.name,
        "channel": kind.channel.value,
        "settings": clear,
        "credentials": credentials.seal(opened.sealer, secrets, provider_id),
        **body.model_dump(mode="json", include={"rate", "domain_rates", "warm_up"}),
    }
    async with opened.sessions(workspace_id, asker.actor) as db:
        await as_now(db, asker, Permission.PROVIDERS_WRITE, opened.clock.now())
        return shown(opened, await provider_accounts.create(db, workspace_id, provider_id, values), None)


@router.get("", dependencies=[needs(Permission.PROVIDERS_READ)])
async def list_providers(
    opened: Opened, db: Db, workspace_id: WorkspaceId, pages: Pages
) -> Page[ProviderOut]:
    """Accounts, the newest first, and at the end the mail server that comes with the installation."""
    found = await provider_accounts.page(db, pages.after, pages.limit)
    standings = await breakers.standings(db, workspace_id)
    items = [shown(opened, row, standings.get(row.id)) for row in found]
    if len(items) < pages.limit and pages.after != BUILT_IN:
        items.append(built_in(standings.get(BUILT_IN)))
    return page_of(items, [item.id for item in items], pages.limit)


@router.get("/{provider_id}", dependencies=[needs(Permission.PROVIDERS_READ)])
async def read_provider(provider_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId) -> ProviderOut:
    """One account."""
    standing = (await breakers.standings(db, workspace_id)).get(provider_id)
    if is_ours(provider_id):
        return built_in(standing)
    return shown(opened, await provider_accounts.get(db, provider_id), standing)


@router.patch("/{provider_id}", dependencies=[needs(Permission.PROVIDERS_WRITE)])
async def change_provider(
    *,
    provider_id: UUID,
    change: ProviderChange,
    opened: Opened,
    asker: Asker,
    workspace_id: WorkspaceId,
    unchanged: Unchanged,
    check: Check = True,
) -> ProviderOut:
    """Change an account. Other settings are tried out like those of a new one."""
    _refuse_for_ours(provider_id)
    given = change.model_fields_set
    if not given:
        raise Invalid("Name at least one field to change.")
    async with opened.sessions(workspace_id) as db:
        before = await provider_accounts.get(db, provider_id)
    values = change.model_dump(mode="json", include=set(given) - {"settings"})
    if "domain_rates" in given:
        _mail_alone(Channel(before.channel), change.domain_rates)
    if "settings" in given:
        settings = changed_settings(opened, before, change.settings)
        if check:
            await _try_out(opened, kind_of(before), Account(workspace_id, provider_id, settings))
        values["settings"], secrets = credentials.parted(settings)
        values["credentials"] = credentials.seal(opened.sealer, secrets, provider_id)
    async with opened.sessions(workspace_id, asker.actor) as db:
        if "name" in given:
            await provider_accounts.claim_name(db, workspace_id, change.name, but=provider_id)
        now_is = await provider_accounts.get(db, provider_id, lock=True)
        standing = (await breakers.standings(db, workspace_id)).get(provider_id)
        unchanged.check(shown(opened, now_is, standing))
        if "settings" in given and now_is.updated_at != before.updated_at:
            raise Stale("It was changed meanwhile: read it again.")
        now = opened.clock.now()
        await as_now(db, asker, Permission.PROVIDERS_WRITE, now)
        changed = await provider_accounts.change(db, provider_id, values)
        if "settings" in given:
            await queued.hasten(db, workspace_id, changed.channel, now)
        return shown(opened, changed, standing)


@router.delete(
    "/{provider_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[needs(Permission.PROVIDERS_WRITE)]
)
async def delete_provider(
    provider_id: UUID, opened: Opened, db: Db, workspace_id: WorkspaceId, unchanged: Unchanged
) -> None:
    """Delete an account to which no route leads. Its credentials go; what it sent stays explained.

    Its webhooks are not heard any more, so wait for the reports of what went by it last.
    """
    _refuse_for_ours(provider_id)
    if unchanged.asked:
        row = await provider_accounts.get(db, provider_id, lock=True)
        unchanged.check(shown(opened, row, (await breakers.standings(db, workspace_id)).get(provider_id)))
    await provider_accounts.delete(db, provider_id, opened.clock.now())


def shown(opened: Stack, row: Provider, standing: Standing | None) -> ProviderOut:
    kind = registry.kinds().get(row.kind)
    unset = dict.fromkeys(credentials.secrets_of(kind.settings)) if kind else {}
    return ProviderOut.model_validate(
        {
            **vars(row),
            "built_in": False,
            "settings": {**unset, **row.settings},
            "webhook_url": webhook_url(opened, kind, row.id) if kind else None,
            "advice": [*kind.advice(row.settings)] if kind else [],
            "state": _state(standing),
        }
    )


def built_in(standing: Standing | None) -> ProviderOut:
    """The mail server that comes with the installation, and has no row."""
    return ProviderOut(
        id=BUILT_IN,
        name="The installation's mail server",
        kind="smtp",
        channel=Channel.EMAIL,
        built_in=True,
        settings={},
        rate=None,
        domain_rates={},
        warm_up=None,
        webhook_url=None,
        advice=[],
        state=_state(standing),
        created_at=None,
        updated_at=None,
    )


def _state(standing: Standing | None) -> BreakerState:
    return standing.state if standing else BreakerState.CLOSED


def _shown_kind(opened: Stack, kind: Kind) -> KindOut:
    can: Capabilities = kind.capabilities
    return KindOut(
        name=kind.name,
        title=kind.title,
        channel=kind.channel,
        settings=kind.settings.model_json_schema(),
        secrets=sorted(credentials.secrets_of(kind.settings)),
        rate=kind.rate if kind.rate is not None and math.isfinite(kind.rate) else None,
        capabilities=Abilities(
            largest_batch=can.largest_batch,
            webhooks=can.webhooks,
            lookup=can.lookup,
            reports=[str(each) for each in can.reports],
            attachments=can.attachments,
        ),
        webhook_url=f"{opened.world.public_url}/hooks/{{provider_id}}" if can.webhooks else None,
    )


async def _try_out(opened: Stack, kind: Kind, account: Account) -> None:
    """Raises `Invalid` with what the provider says."""
    if wrong := await what_is_wrong(opened, kind, account):
        raise Invalid(wrong, "/settings")


def _mail_alone(channel: Channel, rates: dict[str, float]) -> None:
    if rates and channel is not Channel.EMAIL:
        raise Invalid(f"Only mail has recipients' domains; this sends {channel}.", "/domain_rates")


def _refuse_for_ours(provider_id: UUID) -> None:
    if is_ours(provider_id):
        raise Conflict(
            "This mail server comes with the installation: set SMTP_URL where that runs, or make a provider "
            "and a route to it, which your mail then goes by."
        )
