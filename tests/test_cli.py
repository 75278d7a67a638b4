"""The command line, as a process of its own: what it prints and the code that it ends with."""

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from settings import ROOT

NOWHERE = "http://127.0.0.1:9"


def campanile(*words: str, state: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        cwd=ROOT,
        env={**os.environ, "STATE_DIR": str(state), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("import",), "Choose from: customers, orders."),
        (("import", "people", "file.csv"), "Invalid value for 'kind': 'people' is not one of"),
        (("import", "customers"), "Missing argument"),
        (("campaign",), "No such command"),
        (("doctor", "--yaml"), "No such option"),
    ],
)
def test_wrong_use_is_one_sentence_with_a_way_out_and_code_2(
    words: tuple[str, ...], hint: str, tmp_path: Path
) -> None:
    done = campanile(*words, state=tmp_path)

    assert done.returncode == 2
    assert hint in done.stderr
    assert "--help" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("process", ["api", "worker", "tracking"])
def test_a_misspelt_provider_is_no_reason_to_call_the_real_one(process: str, tmp_path: Path) -> None:
    done = campanile(process, state=tmp_path, PROVIDER_ENDPOINTS="sendgird=http://127.0.0.1:9")

    assert done.returncode == 1
    assert "there is no provider sendgird; take of" in done.stderr
    assert "sendgrid" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_command_its_help_is_all_it_says(tmp_path: Path) -> None:
    done = campanile(state=tmp_path)

    assert done.returncode == 2
    assert "doctor" in done.stdout
    assert done.stderr == ""


def test_it_knows_its_version(tmp_path: Path) -> None:
    done = campanile("--version", state=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("campanile ")


def test_a_file_that_is_not_there_or_is_a_folder_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        done = campanile("import", "orders", str(path), state=tmp_path, API_URL=NOWHERE)

        assert done.returncode == 1
        assert str(path) in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_an_import_without_a_stack_says_how_to_start_one(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("customer_id,ordered_on,quantity,total_usd\n")

    done = campanile("import", "orders", str(file), state=tmp_path, API_URL=NOWHERE)

    assert done.returncode == 1
    assert f"nothing answers at {NOWHERE}: start the stack with `make dev`" in done.stderr
    assert "Traceback" not in done.stderr


def test_migrating_without_a_database_is_a_sentence(tmp_path: Path) -> None:
    nowhere = "postgresql+psycopg://nobody:nothing@127.0.0.1:9/nothing"

    done = campanile("migrate", state=tmp_path, ADMIN_DATABASE_URL=nowhere)

    assert done.returncode == 1
    assert done.stderr.startswith("campanile: PostgreSQL said")
    assert "Traceback" not in done.stderr


def test_a_setting_that_makes_no_sense_is_a_sentence(tmp_path: Path) -> None:
    done = campanile("worker", state=tmp_path, PORT="eighty")

    assert done.returncode == 1
    assert done.stderr.startswith("campanile: PORT is 'eighty'")


def test_the_doctor_knows_whom_it_meets_instead_of_the_stack(tmp_path: Path) -> None:
    stranger = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)  # Answers 501 to everything.
    Thread(target=stranger.serve_forever, daemon=True).start()
    port = stranger.server_port
    places = {
        "DATABASE_URL": "postgresql+psycopg://nobody:nothing@127.0.0.1:9/nothing",
        "ADMIN_DATABASE_URL": "postgresql+psycopg://nobody:nothing@127.0.0.1:9/nothing",
        "TEMPORAL_ADDRESS": f"127.0.0.1:{port}",
        "SMTP_URL": "smtp://127.0.0.1:9",
        "API_URL": f"http://127.0.0.1:{port}",
    }
    try:
        done = campanile("doctor", "--json", state=tmp_path, **places)
    finally:
        stranger.shutdown()
        stranger.server_close()

    found = {each["what"]: each["found"] for each in json.loads(done.stdout)["findings"]}
    assert done.returncode == 1
    assert str(port) in found["embedded stack"]
    assert found["SMTP"].startswith("127.0.0.1:9: ")
    assert found["API"] == f"what answers at http://127.0.0.1:{port} is not Campanile"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("mail.example", "HOST is 'mail.example': set it to an address of this machine"),
        ("192.0.2.1", "nobody can listen on port"),  # RFC 5737: no machine has it.
    ],
)
def test_an_address_that_is_not_this_machines_is_refused_in_a_sentence(
    host: str, words: str, tmp_path: Path
) -> None:
    done = campanile("api", state=tmp_path, HOST=host, PORT="0")

    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_port_in_use_is_refused_instead_of_shared(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as taken:
        done = campanile("api", state=tmp_path, PORT=str(taken.server_port))

    assert done.returncode == 1
    assert f"port {taken.server_port} is in use: end what listens there" in done.stderr
