"""The real n8n beside the real stack. No part of `make test`: `make test-n8n` asks for it by N8N_REQUIRED."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from settings import ROOT
from tests.n8n_real.site import Site

collect_ignore_glob = [] if os.environ.get("N8N_REQUIRED") else ["test_*.py"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    state = tmp_path_factory.mktemp("n8n") / "state"
    site = Site(state)
    try:
        site.start()
        yield site
    finally:
        site.end(signal.SIGTERM)
        subprocess.run([sys.executable, "-m", "dev.clean"], cwd=ROOT, env=site.environment, check=True)
        shutil.rmtree(state, ignore_errors=True)
