"""Alembic's environment. The address comes from whoever runs the migrations, as the owner's role."""

from alembic import context
from sqlalchemy import create_engine

from models import metadata

target = metadata()


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise RuntimeError("Migrations are run by `campanile migrate`, which knows the address.")
    engine = create_engine(url)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=target, compare_server_default=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
