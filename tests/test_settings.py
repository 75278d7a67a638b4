"""What the environment may change, and what it may not leave as it is."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from settings import ROOT, Settings, SettingsError, _is_postgres, read_settings

EXAMPLE = (ROOT / ".env.example").read_text()


def test_every_setting_has_its_line_with_its_default_in_the_example() -> None:
    listed = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", EXAMPLE, re.MULTILINE))

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
        ("DATABASE_URL", "postgresql+psycopg://ada:sec@secret@db.example/campanile"),
    ],
)
def test_an_address_that_can_not_be_read_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str
) -> None:
    monkeypatch.setenv(name, given)

    with pytest.raises(SettingsError, match=f"^{name} is no address of a .*: write it like") as refusal:
        read_settings()

    assert "secret" not in str(refusal.value)


PART = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=12)


@given(username=PART, password=PART, port=st.none() | st.integers(1, 65535), database=PART)
@example(username="ada", password="p@ss:/?#%", port=5432, database="campanile")
def test_an_address_of_a_database_is_taken_as_sqlalchemy_writes_it(
    username: str, password: str, port: int | None, database: str
) -> None:
    for host in ("db.example", "::1", ""):
        parts = URL.create(
            "postgresql+psycopg", username, password, host, port, database, {"sslmode": "require"}
        )

        assert _is_postgres(parts.render_as_string(hide_password=False))


@given(st.lists(st.sampled_from([*"ab5:/@?#[]%= ", "postgresql+psycopg://", "+asyncpg", "%40"]), max_size=12))
@example([*"postgresql+psycopg://ada:sec ret@[::1]:5432/campanile?host=/run&sslmode=require"])
@example(["postgresql+psycopg://"])
def test_what_is_taken_for_an_address_of_a_database_is_one_for_sqlalchemy(parts: list[str]) -> None:
    for url in ("".join(parts), "postgresql+psycopg://" + "".join(parts)):
        if _is_postgres(url):
            assert make_url(url).drivername == "postgresql+psycopg"


def test_networks_that_can_not_be_read_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EGRESS_NETWORKS", "10.0.0.0/8, the office")

    with pytest.raises(SettingsError, match="EGRESS_NETWORKS can't be used: 'the office'"):
        read_settings()


# What production starts with: nothing that anybody could guess.
OURS = {
    "ENVIRONMENT": "production",
    "STATE_DIR": "/nonexistent",
    "SIGNING_KEY": "t8Zq2mW5xR9cV4bN7kL1pY6sD3fG0hJa",
    "ENCRYPTION_KEYS": "k1:dGhlc2UgYXJlIDMyIGJ5dGVzIG9mIG91ciBvd24uLi4=, ",
    **{
        name: f"postgresql+psycopg://{role}:one-of-our-own@db.example/campanile"
        for name, role in (
            ("DATABASE_URL", "campanile_app"),
            ("ENGINE_DATABASE_URL", "campanile_engine"),
            ("ADMIN_DATABASE_URL", "campanile_owner"),
        )
    },
}


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in OURS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_production_starts_with_secrets_of_its_own(production: pytest.MonkeyPatch) -> None:
    assert read_settings().environment == "production"


@pytest.mark.parametrize("name", [name for name in OURS if name not in ("ENVIRONMENT", "STATE_DIR")])
def test_production_refuses_each_secret_that_is_left_as_it_came(
    production: pytest.MonkeyPatch, name: str
) -> None:
    production.delenv(name)

    with pytest.raises(SettingsError) as refusal:
        read_settings()

    assert str(refusal.value) == f"set {name}: the defaults are for development only"


@pytest.mark.parametrize(
    ("name", "weak", "said"),
    [
        ("SIGNING_KEY", "short", "SIGNING_KEY is weak: give it 32"),
        ("SIGNING_KEY", "t8Zq2mW5xR9cV4bN7kL1pY6sD3fG0hJ", "SIGNING_KEY is weak"),
        ("SIGNING_KEY", "abcabca" * 10, "SIGNING_KEY is weak"),
        ("SIGNING_KEY", " " * 40, "SIGNING_KEY is weak"),
        (
            "ENCRYPTION_KEYS",
            "k1:c2hvcnQ=",
            "ENCRYPTION_KEYS can't be used: each key is written id:base64 of 32",
        ),
        ("ENCRYPTION_KEYS", "no key at all", "ENCRYPTION_KEYS can't be used"),
        ("ENCRYPTION_KEYS", " , ", "ENCRYPTION_KEYS can't be used: there is no key"),
        ("ENCRYPTION_KEYS", OURS["ENCRYPTION_KEYS"] + "," + OURS["ENCRYPTION_KEYS"], "with ids that differ"),
        ("ENCRYPTION_KEYS", "k1:" + "A" * 43 + "=", "ENCRYPTION_KEYS is weak"),
        (
            "ENCRYPTION_KEYS",
            OURS["ENCRYPTION_KEYS"] + ",dev:Zm9yLWRldmVsb3BtZW50LW9ubHktZm9yLWRldmVsb3A=",
            "set ENCRYPTION_KEYS",
        ),
    ],
)
def test_production_refuses_each_weak_secret_and_names_it_without_repeating_it(
    production: pytest.MonkeyPatch, name: str, weak: str, said: str
) -> None:
    production.setenv(name, weak)

    with pytest.raises(SettingsError) as refusal:
        read_settings()

    assert said in str(refusal.value)
    assert weak.partition(":")[2] not in str(refusal.value) or not weak.partition(":")[2]
    assert len(weak.strip()) < 10 or weak not in str(refusal.value)
