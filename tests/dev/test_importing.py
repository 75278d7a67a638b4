"""What `campanile import` says at its end."""

from io import StringIO

import pytest
from rich.console import Console

from dev.importing import PATIENCE, patient, summary
from settings import Settings


def said(**done: object) -> str:
    out = StringIO()
    counts = {"rows": 0, "imported": 0, "unchanged": 0, "rejected": 0, "reason": None}
    summary(Console(file=out, soft_wrap=True), {"id": "7", **counts, **done}, [], Settings())
    return out.getvalue()


def test_a_failed_import_says_why() -> None:
    reason = "The file is empty: its first line has to name the columns."

    assert f"The import failed: {reason}" in said(state="failed", reason=reason)
    assert "stays" not in said(state="failed", reason=reason)
    assert "stays" in said(state="failed", reason=reason, rows=10_000, imported=10_000)


def test_one_row_is_one_row() -> None:
    assert said(state="completed", rows=1, imported=1).startswith("1 row: 1 imported")


@pytest.mark.parametrize(("waits", "told"), [(PATIENCE, 0), (PATIENCE + 1, 1), (PATIENCE * 3, 1)])
def test_who_waits_for_a_worker_is_told_so_once(waits: int, told: int) -> None:
    out = StringIO()
    states = [{"state": state} for state in [*["uploaded"] * waits, "running", "completed"]]

    assert [*patient(Console(file=out, soft_wrap=True), states)] == states
    assert out.getvalue().count("no worker has begun with it") == told
