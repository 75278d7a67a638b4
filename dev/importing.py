"""`campanile import`: sends a file to the API and shows how the import goes."""

import json as to_json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

import httpx2
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from dev.process import StackError
from settings import Settings

DONE = ("completed", "failed")
ERRORS_SHOWN = 20
POLL = 0.3  # Seconds.
PATIENCE = 17  # Looks at an import that nobody has begun with: five seconds.


class Watched(FileIO):
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, progress: Progress) -> None:
        super().__init__(path)
        self.progress = progress
        self.task = progress.add_task("Uploading", total=path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        piece = super().read(-1 if size is None else size) or b""
        self.progress.advance(self.task, len(piece))
        return piece


def run(settings: Settings, kind: str, path: Path, wishes: dict[str, str], *, json: bool) -> int:
    """Import the file. 0 when the import completed, whatever rows it refused.

    `wishes` are the fields of the upload's form, beside the kind and the file.
    """
    console = Console(stderr=json, highlight=False, soft_wrap=True)
    with client(settings) as api, bars(console) as progress, Watched(path, progress) as file:
        uploaded = asked(
            api.post(
                "/api/v1/imports",
                data={"kind": kind, **wishes},
                files={"file": (path.name, file, "application/octet-stream")},
            )
        )
        importing = progress.add_task("Importing", total=None)
        for begun in patient(console, looks(api, uploaded)):
            progress.update(importing, completed=begun["bytes_done"], total=begun["bytes_total"])
    with client(settings) as api:
        refused = (
            asked(api.get(f"/api/v1/imports/{begun['id']}/errors")) if begun["rejected"] else {"items": []}
        )
    if json:
        sys.stdout.write(to_json.dumps({**begun, "errors": refused["items"]}) + "\n")
    else:
        summary(console, begun, refused["items"], settings)
    return 0 if begun["state"] == "completed" else 1


def looks(api: httpx2.Client, begun: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The import as it is from time to time, until it is done."""
    yield begun
    while begun["state"] not in DONE:
        time.sleep(POLL)
        begun = asked(api.get(f"/api/v1/imports/{begun['id']}"))
        yield begun


def patient(console: Console, looks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same, and a word to who waits while no worker has begun with it."""
    for number, look in enumerate(looks):
        if number == PATIENCE and look["state"] == "uploaded":
            console.print(
                "The file is uploaded, and no worker has begun with it: start one by campanile worker. The "
                "import waits for it, also when you leave with Ctrl-C."
            )
        yield look


def summary(
    console: Console, done: dict[str, Any], refused: list[dict[str, Any]], settings: Settings
) -> None:
    console.print(
        f"{done['rows']:,} {'row' if done['rows'] == 1 else 'rows'}: {done['imported']:,} "
        f"{'would be imported' if done.get('dry_run') else 'imported'}, "
        f"{done['unchanged']:,} unchanged, {done['rejected']:,} rejected"
    )
    for one in refused[:ERRORS_SHOWN]:
        console.print(f"  line {one['line']}, {one['column']}: {one['reason']}", markup=False)
    if done["rejected"] > ERRORS_SHOWN:
        console.print(f"  … the rest: {settings.api_url}/api/v1/imports/{done['id']}/errors")
    if done["state"] == "failed":
        console.print(f"The import failed: {done['reason']}", markup=False)
        if done["rows"]:
            console.print("What it wrote before stays. Import the file again when that is mended.")


def client(settings: Settings) -> httpx2.Client:
    return httpx2.Client(
        base_url=settings.api_url,
        headers={"Authorization": f"Bearer {settings.api_key}"},
        timeout=httpx2.Timeout(60, connect=5),
        trust_env=False,
    )


def asked(response: httpx2.Response) -> dict[str, Any]:
    """The answer's JSON. Raises StackError with what the API refused and why."""
    if response.is_success:
        answer: dict[str, Any] = response.json()
        return answer
    if response.status_code in (401, 403):
        raise StackError(
            "the API does not know this key, or it may not do this: set API_KEY to a secret key of the "
            "workspace, or leave it to the embedded stack"
        )
    try:
        problem = response.json()
        reason = problem.get("detail") or problem.get("title")
    except ValueError:
        reason = response.reason_phrase
    raise StackError(f"the API refused ({response.status_code}): {reason}")


def mapping(given: str | None) -> str | None:
    """A mapping as the form takes it: JSON, or the name of a file with it."""
    if given is None or given.lstrip().startswith("{"):
        return given
    return Path(given).read_text()


@contextmanager
def bars(console: Console) -> Iterator[Progress]:
    columns = (TextColumn("{task.description:9}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield progress
