"""What the environment may change, and what it may not leave as it is."""

import re

import pytest

from settings import ROOT, Settings, SettingsError, read_settings

EXAMPLE = (ROOT / ".env.example").read_text()


def test_every_setting_has_its_line_with_its_default_in_the_example() -> None:
    listed = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))

    assert listed == {name.upper(): str(field.default) for name, field in Settings.model_fields.items()}


def test_every_setting_says_what_it_is_for() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_a_copy_of_the_example_changes_nothing() -> None:
    assert [line for line in EXAMPLE.splitlines() if line and not line.startswith("#")] == []


def test_production_names_the_secrets_that_are_still_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("API_KEY", "a secret of our own")
    monkeypatch.setenv("STATE_DIR", "/nonexistent")

    with pytest.raises(SettingsError, match="SIGNING_KEY, DATABASE_URL") as refusal:
        read_settings()

    assert "API_KEY" not in str(refusal.value)


def test_a_setting_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "eighty")

    with pytest.raises(SettingsError, match="PORT is 'eighty'"):
        read_settings()


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("SMTP_URL", "http://ada:secret@mail.example"),
        ("SMTP_URL", "smtp://mail.example:many"),
        ("DATABASE_URL", "secret"),
        ("DATABASE_URL", "mysql://ada:secret@db.example/campanile"),
        ("ENGINE_DATABASE_URL", "postgresql+psycopg://ada:secret@db.example:many/campanile"),
    ],
)
def test_an_address_that_can_not_be_read_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str
) -> None:
    monkeypatch.setenv(name, given)

    with pytest.raises(SettingsError, match=f"^{name} is no address of a .*: write it like") as refusal:
        read_settings()

    assert "secret" not in str(refusal.value)


def test_networks_that_can_not_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_NETWORKS", "10.0.0.0/8, the office")

    with pytest.raises(SettingsError, match="EGRESS_NETWORKS can't be used: 'the office'"):
        read_settings()
