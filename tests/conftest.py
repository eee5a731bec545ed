"""What holds for every test: no key and no ledger of the person who runs them is ever within reach."""

from __future__ import annotations

import os
from collections.abc import Iterator

import hypothesis
import pytest

# A deadline per example would measure the machine, not the rule.
hypothesis.settings.register_profile("batchgen", deadline=None)
hypothesis.settings.load_profile("batchgen")


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests, and the programs they start, see none of the settings of the person who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("POWERTOKENS_", "BATCHGEN_")) or name.lower().endswith("_proxy"):
                patch.delenv(name)
        for name in (
            "CREDENTIALS_DIRECTORY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "NO_COLOR",
            "FORCE_COLOR",
            "PYTHONWARNINGS",
        ):
            patch.delenv(name, raising=False)
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """``-n auto``: three workers more than there are cores, since many tests wait for programs that wait."""
    return (os.cpu_count() or 1) + 3
