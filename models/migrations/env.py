"""Alembic's environment. The address comes from whoever runs the migrations, as the owner's role."""

from alembic import context
from sqlalchemy import create_engine, text

from models import metadata
from models.base import APP_ROLE, ENGINE_ROLE

target = metadata()

# `/ready` asks for the version. A database for which the first migration is being written has none.
LET_IT_BE_SEEN = text(
    "do $$ begin if to_regclass('alembic_version') is not null then "
    f"grant select on alembic_version to {APP_ROLE}, {ENGINE_ROLE}; end if; end $$"
)


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise RuntimeError("Migrations are run by `campanile migrate`, which knows the address.")
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
            connection.execute(LET_IT_BE_SEEN)
    engine.dispose()


run()
