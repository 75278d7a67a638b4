"""Integrations: other programs that work with a workspace, and that it looks after. So far that is n8n."""

import re
from enum import StrEnum

LONGEST_URL = 500
LONGEST_KEY = 2_000
PREFIX = "campanile-"  # Of our workflows' ids in n8n.
TITLE = "Campanile: "  # Of their names.
# Those in the folder `n8n/`. Who imports one by hand gives it another id, so it is known by its name as well.
WORKFLOWS = ("daily-campaigns", "enrich-in-flow", "job-failure-alert", "lead-capture", "weekly-report")

_VERSION = re.compile(
    r'^n8n_version_info\{[^}\n]{0,200}?version="v?(\d{1,4}\.\d{1,4}\.\d{1,4}[\w.-]{0,40})"', re.MULTILINE
)


class IntegrationKind(StrEnum):
    N8N = "n8n"


def title(workflow: str) -> str:
    """What a workflow of ours is called in n8n."""
    return TITLE + workflow.replace("-", " ")


def workflow_of(id_: str, name: str) -> str | None:
    """Which of ours one of n8n's is, None for another."""
    return next((each for each in WORKFLOWS if id_ == PREFIX + each or name == title(each)), None)


def version_in(metrics: str) -> str | None:
    """n8n's version, as its metrics tell it."""
    found = _VERSION.search(metrics)
    return found[1] if found else None


def leads_to(url: str, base: str) -> bool:
    """Whether an address lies at this one."""
    return url == base or url.startswith(f"{base}/")
