"""`campanile export`: asks the API for a file and writes it while it comes."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import httpx2
from rich.console import Console
from rich.progress import DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from dev.importing import asked, client
from dev.process import StackError
from settings import Settings

PIECE = 64 * 1024  # Bytes.


def run(settings: Settings, what: str, output: Path | None, wanted: Mapping[str, str | Sequence[str]]) -> int:
    """Export to a file, or to standard output. A file appears under its name when it is whole."""
    if output is None and sys.stdout.isatty() and wanted.get("format") == "parquet":
        raise StackError("a Parquet file is nothing to look at: name a file by --output")
    with client(settings) as api:
        if output is None:
            fetch(api, what, wanted, sys.stdout.buffer)
            return 0
        part = output.with_name(f"{output.name}.part")
        try:
            with part.open("wb") as file:
                size = fetch(api, what, wanted, file)
            part.replace(output)
        finally:
            part.unlink(missing_ok=True)
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"{output}: {size:,} bytes")
    return 0


def fetch(api: httpx2.Client, what: str, wanted: Mapping[str, str | Sequence[str]], to: BinaryIO) -> int:
    """Write the export as it comes. Returns its size. Raises `StackError` with what was refused."""
    with ExitStack() as open_:
        console = Console(stderr=True)
        columns = (TextColumn("Exporting"), DownloadColumn(), TimeElapsedColumn())
        progress = open_.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = progress.add_task("Exporting", total=None)
        answer = open_.enter_context(api.stream("GET", f"/api/v1/exports/{what}", params=dict(wanted)))
        if not answer.is_success:
            answer.read()
            asked(answer)
        size = 0
        for piece in answer.iter_bytes(PIECE):
            size += to.write(piece)
            progress.update(task, completed=size)
        to.flush()
        return size
