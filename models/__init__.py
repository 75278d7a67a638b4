"""The database: tables here, statements in `queries/`, history in `migrations/`."""

from importlib import import_module

from sqlalchemy import MetaData

MODULES = (
    "workspaces",
    "accounts",
    "members",
    "profiles",
    "attributes",
    "lists",
    "events",
    "orders",
    "segments",
    "templates",
    "campaigns",
    "schedules",
    "flows",
    "messages",
    "providers",
    "reports",
    "domains",
    "imports",
    "pokes",
    "webhooks",
    "failures",
    "calls",
    "integrations",
)


def metadata() -> MetaData:
    """Every table, for Alembic and for checks of the catalogue."""
    from models.base import Base

    for name in MODULES:
        import_module(f"models.{name}")
    return Base.metadata
