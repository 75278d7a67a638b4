"""Sets a clone up: `.venv` from the lock file, ourselves in it, and a Temporal server. Again is quick.

Standard library only: it is run by the machine's own Python before there is anything else.
"""

import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dev.places import ROOT

VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "campanile.stamp"

Command = Sequence["str | Path"]

OLDEST_PYTHON = (3, 11)
MACHINES = ("x86_64", "aarch64")  # Those that embedded PostgreSQL has wheels for.
OLDEST_GLIBC = (2, 28)  # Debian 10, Ubuntu 18.10.


class SetupError(Exception):
    """This machine can't be set up as it is; the message says what to do."""


def main() -> None:
    try:
        problem = unserved()
        if problem:
            raise SetupError(problem)
        if not is_set_up():
            make_venv()
            install()
            STAMP.write_text(wanted())
        get_temporal()
    except SetupError as error:
        sys.exit(f"campanile: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def unserved() -> str | None:
    """Why this machine can't run the embedded stack, or None."""
    served = f"Linux on {' and '.join(MACHINES)} with glibc {'.'.join(map(str, OLDEST_GLIBC))} or newer"
    if sys.version_info < OLDEST_PYTHON:
        return "Python 3.11 or newer is needed: set PYTHON to one, as in `make demo PYTHON=python3.12`"
    if platform.system() != "Linux" or platform.machine() not in MACHINES:
        here = f"{platform.system()} on {platform.machine()}"
        own = "point DATABASE_URL and TEMPORAL_ADDRESS at servers of your own"
        return f"the embedded stack serves {served}, and this is {here}: {own}"
    kind, version = platform.libc_ver()
    if kind != "glibc" or tuple(map(int, version.split(".")[:2])) < OLDEST_GLIBC:
        return f"the embedded stack serves {served}, and this is {kind or 'another libc'} {version}"
    return None


def wanted() -> str:
    """What the virtual environment is made of."""
    import tomllib  # Here, so that an older Python gets as far as being told that it is too old.

    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ours = (described["build-system"], described["project"], described["tool"]["setuptools"])
    parts = (LOCK.read_text(), repr(ours), platform.python_version(), str(ROOT))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_set_up() -> bool:
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted()


def make_venv() -> None:
    if PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0:
        return
    say(f"Making a virtual environment with Python {platform.python_version()} …")
    shutil.rmtree(VENV, ignore_errors=True)
    uv = shutil.which("uv")
    if uv:
        run([uv, "venv", "--quiet", "--python", sys.executable, VENV])
        return
    if importlib.util.find_spec("ensurepip") is None:
        get_ensurepip()
    run([sys.executable, "-m", "venv", VENV])


def get_ensurepip() -> None:
    """Debian and Ubuntu keep this part of Python in a package of its own."""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    command = ["apt-get", "install", "--yes", "--no-install-recommends", package]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise SetupError(
            f"Python's venv module is not whole: run `sudo apt-get install {package}`, or install uv"
        )
    say(f"Installing {package}, which Python needs for virtual environments …")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if subprocess.run(command, env=quiet, capture_output=True, check=False).returncode:
        run(["apt-get", "update", "--quiet"])
        run(command)


def install() -> None:
    uv = shutil.which("uv")
    count = LOCK.read_text().count("==")
    say(f"Installing up to {count} packages, each checked against its hash …")
    locked: Command = ["--require-hashes", "--requirement", LOCK]
    if uv:
        run([*installer(), *locked])
    else:
        counted([PYTHON, "-m", "pip", "install", "--disable-pip-version-check", *locked], count)
    run([*installer(), "--no-deps", "--no-build-isolation", "--editable", ROOT])


def counted(command: Command, count: int) -> None:
    """Run pip, which fetches for a while and then installs for a while, and say how far it is."""
    done, said = 0, ""
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        assert pip.stdout
        for said in pip.stdout:
            if said.startswith("Collecting"):
                done += 1
                if sys.stdout.isatty() or done % 20 == 0:
                    progress(f"{done} of {count}")
            elif said.startswith("Installing"):
                progress("Unpacking them", end=True)
    check(command, pip.returncode, said)


def progress(what: str, end: bool = False) -> None:
    """A line that the next one replaces, where there is somebody to see it."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K  {what}", end="\n" if end else "", flush=True)
    else:
        say(f"  {what}")


def installer() -> Command:
    """The start of a command that installs into our virtual environment, by uv where there is one."""
    uv = shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", PYTHON]
    return [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


def install_into(folder: Path, lock: Path) -> None:
    """Install what `lock` names into a folder of its own."""
    run([*installer(), "--require-hashes", "--target", folder, "--requirement", lock])


def get_temporal() -> None:
    """In a process of the virtual environment, which says how it goes."""
    if subprocess.run([PYTHON, "-m", "dev.temporal_program"], cwd=ROOT, check=False).returncode:
        sys.exit(1)  # It has said why.


def run(command: Command) -> None:
    """Raises SetupError, with what the command said last, when it fails."""
    done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    check(command, done.returncode, done.stderr)


def check(command: Command, code: int, said: str) -> None:
    if code:
        last = said.strip().splitlines()[-1:] or ["it said nothing"]
        raise SetupError(f"`{' '.join(map(str, command))}` failed ({last[0]}): mend that and run it again")


def say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
