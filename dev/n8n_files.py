"""The workflows in `n8n/`: files as n8n exports them, without what belongs to one installation.

`python -m dev.n8n_files FOLDER` takes what `n8n export:workflow --backup --output=FOLDER` wrote, and draws
the pictures anew.
"""

import copy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from dev.n8n_picture import drawn
from dev.places import ROOT

FOLDER = ROOT / "n8n"
PREFIX = "campanile-"  # Of our workflows' ids; the rest is the file's name.
SETTINGS = "Settings"  # The node in which a person writes what is theirs.
KEPT = ("id", "name", "nodes", "connections", "settings")  # The rest is one installation's own.

Workflow = dict[str, Any]


def names() -> list[str]:
    """Of the files, which are the workflows'."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read(name: str) -> Workflow:
    workflow: Workflow = orjson.loads((FOLDER / f"{name}.json").read_bytes())
    return workflow


def settled(workflow: Workflow, values: Mapping[str, str]) -> Workflow:
    """The workflow with these values in its settings, where it has them."""
    changed = copy.deepcopy(workflow)
    for node in changed["nodes"]:
        if node["name"] == SETTINGS:
            for one in node["parameters"]["assignments"]["assignments"]:
                one["value"] = values.get(one["name"], one["value"])
    return changed


def cleaned(exported: Workflow) -> Workflow:
    """What of an export is the same wherever it is imported. It is imported unpublished."""
    return {name: exported[name] for name in KEPT} | {"active": False, "pinData": {}}


def write(workflow: Workflow) -> str:
    """Keep a workflow and its picture. Returns its name."""
    name = str(workflow["id"]).removeprefix(PREFIX)
    shown = orjson.dumps(cleaned(workflow), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    (FOLDER / f"{name}.json").write_bytes(shown)
    (FOLDER / f"{name}.svg").write_text(drawn(workflow))
    return name


def main(folder: str) -> None:
    for path in sorted(Path(folder).glob(f"{PREFIX}*.json")):
        sys.stdout.write(f"{write(orjson.loads(path.read_bytes()))}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
