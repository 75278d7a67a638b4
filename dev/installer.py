"""Installs what a lock file names, each file checked against its hash: by uv if it can be had, else by pip.

uv takes a few seconds where pip takes half a minute. It is the one on the PATH, or comes as a wheel from
where pip gets its packages. Standard library only: the set-up uses it before there is more.
"""

import configparser
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from dev.commands import Command, SetupError, check, progress, run, say
from dev.places import ROOT, cache

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
UV_WHEEL = ROOT / "dev" / "uv.lock"

PIP = ("-m", "pip", "install", "--disable-pip-version-check")

# uv does not read pip's configuration, so we do, and tell it by variables. These are pip's options (its page
# "Configuration") and uv's variables for the same (its page "Environment variables"), with what parts lists.
SAME = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", ""),
    "client-cert": ("SSL_CLIENT_CERT", ""),
    "timeout": ("UV_HTTP_TIMEOUT", ""),
    "default-timeout": ("UV_HTTP_TIMEOUT", ""),
}
# These say nothing of where packages come from. With an option that is in neither list, pip does the work.
OF_NO_MATTER = {
    *("break-system-packages", "cache-dir", "disable-pip-version-check", "format", "no-cache-dir"),
    *("no-color", "no-input", "no-python-version-warning", "no-warn-script-location", "prefer-binary"),
    *("progress-bar", "quiet", "require-virtualenv", "retries", "root-user-action", "user", "verbose"),
}


def find_uv() -> Path | None:
    """uv from the PATH or from an earlier set-up, where it can be told all that pip is told."""
    if as_uv_says(pips_options(os.environ)) is None:
        return None
    on_path = shutil.which("uv")
    if on_path:
        return Path(on_path)
    return kept_uv() if os.access(kept_uv(), os.X_OK) else None


def kept_uv() -> Path:
    version = UV_WHEEL.read_text().split()[0].removeprefix("uv==")
    return cache() / f"uv-{version}" / "bin" / "uv"


def get_uv() -> Path | None:
    """uv, fetched by the virtual environment's pip if need be. None where pip has to do."""
    found = find_uv()
    if found or as_uv_says(pips_options(os.environ)) is None:
        return found
    kept = kept_uv().parent.parent
    new = kept.with_name(f"{kept.name}.{os.getpid()}.new")
    try:
        by_pip(UV_WHEEL, "--target", new, "--no-compile")
        shutil.rmtree(kept, ignore_errors=True)
        new.rename(kept)
    except (SetupError, OSError):
        return find_uv()  # No wheel for this machine, perhaps, or another clone was quicker.
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return find_uv()


def install_packages(uv: Path | None) -> None:
    """Into the virtual environment, with ourselves."""
    count = LOCK.read_text().count("==")
    say(f"Installing up to {count} packages, each checked against its hash …")
    own: Command = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
    if uv:
        # Python compiles what it imports, a third of it all. Where it may not keep that, do it now for good.
        compiling = ["--compile-bytecode"] if sys.dont_write_bytecode else []
        by_uv(uv, *compiling, *locked(LOCK))
        by_uv(uv, *own)
    else:
        counted([PYTHON, *PIP, *locked(LOCK)], count)
        run([PYTHON, *PIP, "--quiet", *own])


def install_into(folder: Path, lock: Path) -> None:
    """Install what `lock` names into a folder of its own."""
    uv = find_uv()
    if uv:
        by_uv(uv, "--target", folder, *locked(lock))
    else:
        by_pip(lock, "--target", folder, "--no-compile")


def locked(lock: Path) -> Command:
    return ["--require-hashes", "--requirement", lock]


def by_uv(uv: Path, *what: str | Path) -> None:
    told = as_uv_says(pips_options(os.environ)) or {}
    run([uv, "pip", "install", "--quiet", "--python", PYTHON, *what], {**told, **os.environ})


def by_pip(lock: Path, *options: str | Path) -> None:
    run([PYTHON, *PIP, "--quiet", *options, *locked(lock)])


def counted(command: Command, count: int) -> None:
    """Run pip, which fetches for a while and then installs for a while, and say how far it is."""
    done, said = 0, ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout
        try:
            for said in pip.stdout:
                if said.startswith("Collecting"):
                    done += 1
                    if sys.stdout.isatty() or done % 20 == 0:
                        progress(f"{done} of {count}")
                elif said.startswith("Installing"):
                    progress("Unpacking them", end=True)
        except BaseException:
            pip.terminate()  # Ctrl-C reaches it by itself only if it was typed.
            raise
    check(command, pip.returncode, said)


def pips_options(environment: Mapping[str, str]) -> dict[str, str]:
    """What pip is configured to do in `pip install`, by the names of its options: the later source wins."""
    options: dict[str, str] = {}
    files = configparser.RawConfigParser()
    try:
        files.read(pips_files(environment), encoding="utf-8")
        for section in ("global", "install"):
            if files.has_section(section):
                options |= {optionally(name): value for name, value in files.items(section)}
    except (configparser.Error, UnicodeDecodeError):
        options["unreadable"] = ""
    for name, value in environment.items():
        if name.startswith("PIP_") and name != "PIP_CONFIG_FILE" and value:
            options[optionally(name.removeprefix("PIP_"))] = value
    return options


def optionally(name: str) -> str:
    return name.lower().replace("_", "-").removeprefix("--")


def pips_files(environment: Mapping[str, str]) -> Iterator[Path]:
    """pip's configuration files, the one that wins last."""
    named = environment.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    home = Path(environment.get("HOME") or Path.home())
    for folder in reversed(environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")
    yield home / ".pip" / "pip.conf"
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield VENV / "pip.conf"
    if named:
        yield Path(named)


def as_uv_says(options: Mapping[str, str]) -> dict[str, str] | None:
    """The variables that make uv look where pip would; None where uv has no word for one of the options.

    With more than one index uv would stop at the first that knows a package. pip looks at all of them, which
    the hashes make safe.
    """
    if not options.keys() <= SAME.keys() | OF_NO_MATTER:
        return None
    told = {"UV_SYSTEM_CERTS": "true"}  # As pip does, which trusts what the machine trusts.
    for option, (variable, separator) in SAME.items():
        if option in options:
            words = options[option].split()
            told[variable] = separator.join(words) if separator else options[option]
    if "no-cache-dir" in options:
        told["UV_NO_CACHE"] = "true"
    if "extra-index-url" in options:
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return told
