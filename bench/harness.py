"""What a benchmark tells: its cases beside their aims, as a table for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import orjson
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).with_name("results")


@dataclass(frozen=True)
class Case:
    """One figure. `beside` holds what explains it, such as CPU seconds by part, in the order to show."""

    case: str
    value: float
    unit: str
    aim: float | None  # None: a figure to know, not to reach.
    better: Literal["higher", "lower"]
    beside: Mapping[str, object] = field(default_factory=dict)

    @property
    def reached(self) -> bool | None:
        if self.aim is None:
            return None
        return self.value >= self.aim if self.better == "higher" else self.value <= self.aim


def report(name: str, cases: Sequence[Case], keep: bool = True) -> None:
    """Print the table, and write `bench/results/<name>.json` unless this run was no full one (`keep`)."""
    table = Table("case", title=f"bench-{name}", title_justify="left")
    table.add_column("value", justify="right")
    table.add_column("aim", justify="right")
    table.add_column("beside", overflow="fold")
    for case in cases:
        colour = {True: "green", False: "red", None: "default"}[case.reached]
        table.add_row(
            case.case,
            f"[{colour}]{in_words(case.value)}[/] {case.unit}",
            f"{'≥' if case.better == 'higher' else '≤'} {in_words(case.aim)}" if case.aim is not None else "",
            "\n".join(f"{key}: {in_words(value)}" for key, value in case.beside.items()),
        )
    Console().print(table)
    if keep:
        RESULTS.mkdir(exist_ok=True)
        text = orjson.dumps({"cases": [asdict(case) for case in cases]}, option=orjson.OPT_INDENT_2)
        (RESULTS / f"{name}.json").write_bytes(text + b"\n")


def in_words(value: object) -> str:
    match value:
        case float() if abs(value) < 100:
            return f"{value:,.2f}"
        case float() | int():
            return f"{value:,.0f}"
        case dict():
            return ", ".join(f"{key} {in_words(part)}" for key, part in value.items())
        case list():
            return ", ".join(map(in_words, value))
    return str(value)
