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
from pathlib import Path

from dev.commands import Beside, SetupError, run, say
from dev.installer import LOCK, PYTHON, VENV, find_uv, get_uv, install_packages
from dev.places import ROOT
from dev.process import tied

STAMP = VENV / "campanile.stamp"

OLDEST_PYTHON = (3, 11)
MACHINES = ("x86_64", "aarch64")  # Those that embedded PostgreSQL has wheels for.
OLDEST_GLIBC = (2, 28)  # Debian 10, Ubuntu 18.10.


def main() -> None:
    try:
        problem = unserved()
        if problem:
            raise SetupError(problem)
        if not is_set_up():
            make_venv(find_uv())
            # Where Temporal has to be built, that takes minutes, so it goes on beside everything else.
            with Beside([sys.executable, "-u", "-m", "dev.temporal_program", "build"]) as temporal:
                install()
                STAMP.write_text(wanted())
                temporal.finish()
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
    stands = PYTHON.exists() and STAMP.exists() and STAMP.read_text() == wanted()
    return stands and can_install(find_uv())


def can_install(uv: Path | None) -> bool:
    """Whether more can be installed: uv leaves no pip behind, and may be gone with the cache."""
    return uv is not None or any(VENV.glob("lib/python*/site-packages/pip"))


def make_venv(uv: Path | None) -> None:
    """By uv if there is one, else with Python's own module, which puts pip into it.

    One that was not finished is made anew: a package may be there by half.
    """
    runs = PYTHON.exists() and subprocess.run([PYTHON, "-c", ""], check=False).returncode == 0
    if runs and STAMP.exists() and can_install(uv):
        STAMP.unlink()  # Until it is whole again.
        return
    say(f"Making a virtual environment with Python {platform.python_version()} …")
    shutil.rmtree(VENV, ignore_errors=True)
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
    """By uv, or where that fails by pip, in an environment that has one."""
    uv = get_uv()
    if uv:
        try:
            install_packages(uv)
        except SetupError:
            say("uv did not get them: trying pip …")
            make_venv(None)
        else:
            return
    install_packages(None)


def get_temporal() -> None:
    """In a process of the virtual environment, which says how it goes."""
    command = tied([PYTHON, "-u", "-m", "dev.temporal_program"])
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(1)  # It has said why.


if __name__ == "__main__":
    main()
