"""Brings a database to the newest migration, and says where it stands."""

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine

from dev.places import ROOT

FOLDER = ROOT / "models" / "migrations"


def migrate(url: str) -> None:
    """Run what is missing, as the owner's role that `url` names."""
    command.upgrade(configuration(url), "head")


def current(url: str) -> str | None:
    """The id of the migration that the database is at, or None before the first."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def configuration(url: str = "") -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
