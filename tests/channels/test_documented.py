"""What the docs show of settings and of words is taken as it stands there."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from api import words
from channels import registry
from domain.channels import Channel

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: str, after: str) -> Mapping[str, Any]:
    """The first block of JSON after these words of a page."""
    _, found, rest = (DOCS / page).read_text().partition(after)
    block = re.search(r"```json\n(.*?)```", rest, re.DOTALL)
    assert found
    assert block
    known: Mapping[str, Any] = orjson.loads(block[1])
    return known


SETTINGS = shown("providers.md", "The settings as they are sent")
BODIES = shown("messages.md", "What `body` says by each channel")


@pytest.mark.parametrize("kind", sorted(SETTINGS))
def test_the_settings_in_the_docs_make_an_account(kind: str) -> None:
    registry.kinds()[kind].settings.model_validate(SETTINGS[kind])


def test_each_kind_that_has_something_to_set_is_in_the_docs() -> None:
    ours = {
        name for name, kind in registry.kinds().items() if kind.settings.__module__.startswith("channels")
    }
    assert ours - {"simulated", *SETTINGS} <= {name for name in ours if name.startswith("simulated")}


@pytest.mark.parametrize("channel", Channel)
def test_the_words_in_the_docs_are_read(channel: Channel) -> None:
    assert words.read(channel, BODIES[channel])
