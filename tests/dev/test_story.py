"""The demo's story begins only where it can be told to the end."""

from typing import Any

import pytest

from dev.story import in_the_way

FRESH: dict[str, Any] = {"currency": "USD", "caps": [], "quiet_hours": None}


@pytest.mark.parametrize(
    "setting",
    [
        {"currency": "EUR"},
        {"caps": [{"channel": "email", "limit": 2, "period": "week"}]},
        {"quiet_hours": {"from": "21:00:00", "until": "08:00:00"}},
    ],
)
def test_a_setting_that_would_stop_the_story_is_named_with_its_change(setting: dict[str, Any]) -> None:
    [name] = setting

    told = in_the_way(FRESH | setting)

    assert told is not None
    assert f"the workspace's {name}" in told
    assert f'PATCH /api/v1/workspace with {{"{name}": ' in told


def test_a_route_of_ones_own_is_named_with_its_end() -> None:
    told = in_the_way(FRESH, [{"id": "17", "provider": "SendGrid"}])

    assert told is not None
    assert "goes by SendGrid" in told
    assert told.endswith("DELETE /api/v1/routes/17")


def test_a_cap_that_the_story_keeps_to_is_not_in_the_way() -> None:
    assert in_the_way(FRESH | {"caps": [{"channel": "email", "limit": 3, "period": "day"}]}) is None
