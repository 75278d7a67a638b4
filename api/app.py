"""Builds the API: ask, pass on, answer. `granian --interface asgi --factory api.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from api import hooks, ingest, tracking
from api.announced import tell_of_webhooks
from api.collector import calm_the_collector
from api.deps import known_parameters
from api.docs import PROBLEMS, document
from api.errors import handle
from api.front import Front
from api.routes import (
    account_pages,
    attributes,
    audit,
    auth,
    callbacks,
    campaigns,
    consents,
    costs,
    deliverability,
    domains,
    events,
    exports,
    failure_logs,
    flows,
    health,
    imports,
    integrations,
    issuers,
    keys,
    lists,
    members,
    messages,
    oidc,
    orders,
    previews,
    profile_changes,
    profile_exports,
    profile_notes,
    profiles,
    provider_health,
    provider_trials,
    providers,
    quarantine,
    routes,
    schedules,
    second_factor,
    segment_answers,
    segment_builder,
    segments,
    sender_pages,
    senders,
    singles,
    templates,
    timelines,
    topics,
    tracking_host,
    users,
    webhook_deliveries,
    webhook_types,
    webhooks,
    whoami,
    workspace,
    workspaces,
)
from api.short import lead
from api.stack import Stack, TemporalLink
from logs import configure_logging
from models.base import Sessions
from settings import Settings, read_settings

PREFIX = "/api/v1"
DATABASE_PATIENCE = 5.0  # Seconds that a request waits for a database that is away.
# The router asks one after the other: what is asked for most comes first.
FEATURES = (
    profiles,
    users,
    whoami,
    orders,
    callbacks,
    profile_changes,
    quarantine,
    events,
    timelines,
    profile_notes,
    consents,
    lists,
    topics,
    attributes,
    profile_exports,
    messages,
    singles,
    auth,
    oidc,
    second_factor,
    workspaces,
    workspace,
    tracking_host,
    domains,
    senders,
    members,
    keys,
    issuers,
    audit,
    providers,
    provider_health,
    provider_trials,
    routes,
    segment_builder,  # Its addresses look like a segment's, and so come first.
    segment_answers,
    segments,
    templates,
    campaigns,
    schedules,
    costs,
    failure_logs,
    previews,
    flows,
    imports,
    exports,
    deliverability,
    webhook_types,  # Its address looks like a webhook's, and so comes first.
    webhooks,
    webhook_deliveries,
    integrations,
)


def create_app() -> ASGIApp:
    """The server of one process, from its settings: the API, both kinds of tracking, and webhooks."""
    settings = read_settings()
    configure_logging(settings.log_level, "api")
    app = Front(build(settings), tracking.build(settings), ingest.build(settings), hooks.build(settings))
    calm_the_collector()
    return app


def build(settings: Settings) -> FastAPI:
    """The API alone. What it opens, it opens when it starts, and Temporal when it is first asked."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        sessions = Sessions(
            settings.database_url,
            settings.engine_database_url,
            settings.database_pool_size,
            patience=DATABASE_PATIENCE,
        )
        link = TemporalLink(settings.temporal_address, settings.temporal_namespace)
        app.state.stack = Stack(settings, sessions, link)
        yield
        await sessions.close()

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    handle(app)
    app.include_router(health.router)
    app.include_router(account_pages.router)
    app.include_router(sender_pages.router)
    for feature in FEATURES:
        app.include_router(
            feature.router, prefix=PREFIX, responses=PROBLEMS, dependencies=[Depends(known_parameters)]
        )
    tell_of_webhooks(app)
    lead(app, PREFIX)
    document(app)
    return app
