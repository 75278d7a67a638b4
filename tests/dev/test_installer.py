"""Where packages come from: uv looks where pip is told to, and nothing passes that the lock does not name."""

import base64
import functools
import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dev.commands import SetupError
from dev.installer import as_uv_says, install_into, pips_options

WHEEL = "bell_tower-1.0-py3-none-any.whl"


class Quiet(SimpleHTTPRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing in between the tests' lines."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index of our own with one package in it."""
    folder = tmp_path / "simple" / "bell-tower"
    folder.mkdir(parents=True)
    about = "bell_tower-1.0.dist-info"
    files = {
        "bell_tower.py": "",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: bell-tower\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: us\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},sha256={digest(text)},{len(text)}" for name, text in files.items()]
    files[f"{about}/RECORD"] = "\n".join([*lines, f"{about}/RECORD,,", ""])
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/simple/"
        server.shutdown()


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def locked(folder: Path, digest: str) -> Path:
    lock = folder / "lock"
    lock.write_text(f"bell-tower==1.0 \\\n    --hash=sha256:{digest}\n")
    return lock


def test_a_package_comes_from_the_index_that_pip_is_configured_with(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    right = hashlib.sha256((tmp_path / "simple" / "bell-tower" / WHEEL).read_bytes()).hexdigest()

    install_into(tmp_path / "there", locked(tmp_path, right))

    assert (tmp_path / "there" / "bell_tower.py").exists()


def test_a_package_whose_hash_the_lock_does_not_name_is_refused(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index)
    monkeypatch.setenv("UV_NO_VERIFY_HASHES", "1")

    with pytest.raises(SetupError, match="failed"):
        install_into(tmp_path / "there", locked(tmp_path, "0" * 64))

    assert not (tmp_path / "there" / "bell_tower.py").exists()


def test_uv_is_told_what_pips_files_and_variables_say_and_the_variables_win(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url =\n  https://two.example/simple\n"
        "  https://three.example/simple\ntimeout = 60\n"
        "[install]\nfind_links = wheels more/wheels\n[download]\nno-index = true\n"
    )
    environment = {
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_INDEX_URL": "https://four.example/simple",
        "PIP_TRUSTED_HOST": "four.example five.example",
        "PIP_CERT": "/our/bundle.pem",
    }

    told = as_uv_says(pips_options(environment))

    assert told is not None
    assert told["UV_DEFAULT_INDEX"] == "https://four.example/simple"
    assert told["UV_INDEX"] == "https://two.example/simple https://three.example/simple"
    assert told["UV_INDEX_STRATEGY"] == "unsafe-best-match"
    assert told["UV_FIND_LINKS"] == "wheels,more/wheels"
    assert told["UV_INSECURE_HOST"] == "four.example five.example"
    assert told["SSL_CERT_FILE"] == "/our/bundle.pem"
    assert told["UV_HTTP_TIMEOUT"] == "60"


def test_the_users_own_file_counts_unless_pip_is_told_to_read_none(tmp_path: Path) -> None:
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    (tmp_path / ".config" / "pip" / "pip.conf").write_text("[global]\nindex-url = https://own.example/\n")

    read = pips_options({"HOME": str(tmp_path)})
    unread = pips_options({"HOME": str(tmp_path), "PIP_CONFIG_FILE": os.devnull})

    assert read["index-url"] == "https://own.example/"
    assert unread == {}


@pytest.mark.parametrize("option", ["PIP_PROXY", "PIP_NO_INDEX", "PIP_SOMETHING_NEW"])
def test_what_uv_has_no_word_for_is_left_to_pip(option: str) -> None:
    assert as_uv_says(pips_options({"PIP_CONFIG_FILE": os.devnull, option: "1"})) is None


def test_a_file_that_pip_could_not_read_either_is_left_to_pip(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text("index-url = https://no.section.example/\n")

    assert as_uv_says(pips_options({"PIP_CONFIG_FILE": str(tmp_path / "pip.conf")})) is None
