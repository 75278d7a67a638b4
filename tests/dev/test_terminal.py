"""What a person at a terminal is told at once."""

import os
from pathlib import Path

import pytest
from rich.console import Console

from dev.process import remember
from dev.stack import Running
from dev.terminal import wanted_n8n
from settings import Settings


def test_n8n_is_not_installed_where_the_stack_runs_already(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    remember(tmp_path / "run" / "stack.json", os.getpid())

    with pytest.raises(Running, match="runs already"):
        wanted_n8n(settings, Console(quiet=True))
