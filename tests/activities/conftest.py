"""Activities, each run by its test: there is nobody whom a slice could wait for."""

import pytest

from activities.slices import Pace


@pytest.fixture(autouse=True)
def no_breath(monkeypatch: pytest.MonkeyPatch) -> None:
    """No 0.7 s after each slice that found a few. The tests of the workflows, and chaos, have them."""
    monkeypatch.setattr(Pace, "SHARE", 0)
