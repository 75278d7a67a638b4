"""A file of 60,000 orders whose worker is killed three times: every row is in, and none twice."""

from decimal import Decimal
from functools import partial

from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import imports
from tests.chaos.site import Site
from tests.importing import imported, uploaded
from workflows.imports import start

CUSTOMERS = 2_000
ORDERS = 60_000
DEADLINE = 90  # Seconds from the last blow to the end.


async def test_an_import_whose_worker_is_killed_three_times_stores_every_row_once(site: Site) -> None:
    await site.start(pace=0)
    sessions = Sessions(site.database.url, site.database.engine_url, pool_size=2)
    people = "".join(f"{n}\n" for n in range(CUSTOMERS))
    assert (await imported(sessions, "customers", f"customer_id\n{people}")).imported == CUSTOMERS
    # Every row is there three times, and each is an order.
    rows = "".join(f"{n % CUSTOMERS},1997-01-{1 + n % 28:02},1,9.77\n" for n in range(ORDERS // 3)) * 3
    run = await uploaded(sessions, "orders", f"customer_id,ordered_on,quantity,total_usd\n{rows}")
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await imports.get(db, run.import_id)
    await sessions.close()

    await start(site.client, row)
    for _ in range(3):
        site.start_worker()
        await site.until(partial(further, site, read(site)), 60, "another batch")
        site.workers[-1].kill()
        site.tell(f"killed a worker after {read(site):,} rows")
    site.start_worker()
    completed = "select 1 from imports where state = 'completed' and kind = 'orders'"
    await site.until(lambda: bool(site.ask(completed)), DEADLINE, "the end of the import")

    told = "select rows, imported, unchanged, rejected from imports where kind = 'orders'"
    assert site.ask(told) == [(ORDERS, ORDERS, 0, 0)]
    assert site.ask("select count(*), count(distinct key), sum(total) from orders") == [
        (ORDERS, ORDERS, ORDERS * Decimal("9.77"))
    ]
    assert site.ask("select sum(count), sum(total) from order_rollups") == [
        (ORDERS, ORDERS * Decimal("9.77"))
    ]
    assert site.ask("select count(*) from import_chunks") == [(0,)]


def further(site: Site, than: int) -> bool:
    return read(site) > than


def read(site: Site) -> int:
    [(rows,)] = site.ask("select rows from imports where kind = 'orders'")
    assert isinstance(rows, int)
    return rows
