"""How fast files come in: `python -m bench.import [--quick]`, as `make bench-import` does.

A million orders in the sample's format, without ids of their own, of customers whose file is imported first.
Both go through Temporal, as the application's role behind its policies. A run whose counts do not add up
counts for nothing. Beside it: COPY of the same file into a bare table of text, without checks, keys or sums.
"""

import argparse
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from activities.imports import ImportSlice
from bench import machine
from bench.harness import Case, report
from bench.run import run
from bench.stack import DATABASE, Stack, expect, peak_memory
from dev.process import Process
from domain.imports import ImportKind, ImportState
from domain.workspaces import DEFAULT_WORKSPACE
from models.base import Sessions
from models.queries import imports as uploads
from workflows import imports
from workflows.temporal import connect

ORDERS = 1_000_000
OF_ONE = (1, 1, 1, 2, 2, 3, 4, 9)  # How many orders customers have: 2.9 on average, as in the sample.


@dataclass(frozen=True)
class Run:
    """One file, from the start of its workflow to its last row."""

    rows: int
    seconds: float
    upload: float  # Seconds.
    cpu: dict[str, float]  # Seconds by part.

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    @property
    def beside(self) -> dict[str, object]:
        return {
            "rows": self.rows,
            "seconds": self.seconds,
            "CPU seconds": self.cpu,
            "upload seconds": self.upload,
        }


async def main(quick: bool) -> None:
    with Stack() as stack:
        orders, customers = write_files(stack.folder, 50_000 if quick else ORDERS)
        stack.make_template(0)
        sessions = stack.fresh()
        with stack.worker("bench.worker", "null") as worker:
            of_customers = await through(stack, sessions, worker, ImportKind.CUSTOMERS, customers)
            of_orders = await through(stack, sessions, worker, ImportKind.ORDERS, orders)
            memory = peak_memory(worker)
        await sessions.close()
        bare = copied(stack, orders, of_orders.rows)
    report(
        "import",
        [
            Case(
                "import",
                of_orders.rate,
                "rows/s",
                50_000,
                "higher",
                {**of_orders.beside, "COPY alone, rows/s": bare},
            ),
            Case("import memory", memory, "MB", 300, "lower", {"of": "the worker's process, at its peak"}),
            Case("import customers", of_customers.rate, "rows/s", None, "higher", of_customers.beside),
            *machine.measure(),
        ],
        keep=not quick,
    )


def write_files(folder: Path, size: int) -> tuple[Path, Path]:
    """So many orders in the sample's format, and their customers with addresses and both consents."""
    dice = random.Random(1997)  # The same files every time.
    folder.mkdir(parents=True, exist_ok=True)
    orders, customers = folder / "orders.csv", folder / "customers.csv"
    with orders.open("w") as bought, customers.open("w") as people:
        bought.write("customer_id,ordered_on,quantity,total_usd\n")
        people.write("customer_id,email,first_name,consent_email,consent_tracking\n")
        customer = written = 0
        while written < size:
            customer += 1
            people.write(f"{customer},customer-{customer}@example.com,Customer {customer},granted,granted\n")
            for _ in range(min(dice.choice(OF_ONE), size - written)):
                day = f"{dice.randint(1997, 1998)}-{dice.randint(1, 12):02}-{dice.randint(1, 28):02}"
                cents = dice.randint(500, 15_000)
                bought.write(f"{customer},{day},{dice.randint(1, 5)},{cents // 100}.{cents % 100:02}\n")
                written += 1
    return orders, customers


async def through(stack: Stack, sessions: Sessions, worker: Process, kind: ImportKind, file: Path) -> Run:
    """Upload a file, and import it through Temporal."""
    print(f"Importing {file.name}")
    begun = time.perf_counter()
    async with sessions(DEFAULT_WORKSPACE) as db:
        row = await uploads.upload(db, DEFAULT_WORKSPACE, kind, file.name, pieces(file), live=False)
    client = await connect(stack.temporal.address)
    meter, started = stack.meter(worker), time.perf_counter()
    await imports.start(client, row)
    done = await client.get_workflow_handle(imports.id_of(row), result_type=ImportSlice).result()
    seconds = time.perf_counter() - started
    with file.open("rb") as lines:
        wanted = sum(1 for _ in lines) - 1
    async with sessions(DEFAULT_WORKSPACE) as db:
        table = "profiles" if kind is ImportKind.CUSTOMERS else "orders"
        found = (await db.execute(text(f"select count(*) from {table}"))).scalar_one()
    complete = done.state is ImportState.COMPLETED and (done.rows, done.imported, found) == (wanted,) * 3
    expect(
        complete,
        f"{file.name} has {wanted:,} rows, {done.imported:,} were imported: {done.reason or done.state}",
    )
    return Run(wanted, seconds, started - begun, meter.read())


async def pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while data := source.read(uploads.CHUNK):
            yield data


def copied(stack: Stack, file: Path, rows: int) -> float:
    """Rows a second of what a user would try instead: COPY into a table without keys, in one transaction."""
    with stack.postgres.connect(DATABASE) as db:
        db.execute("create table bare (customer_id text, ordered_on text, quantity text, total_usd text)")
        started = time.perf_counter()
        with file.open("rb") as source, db.cursor().copy("copy bare from stdin (format csv, header)") as copy:
            while data := source.read(uploads.CHUNK):
                copy.write(data)
        return rows / (time.perf_counter() - started)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of it, which is not kept")
    run(main(parser.parse_args().quick))
