"""The lowest versions that pyproject.toml takes, as constraints for pip: ``make floors`` runs the tests on them."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))["project"]


def floors() -> list[str]:
    """``NAME==VERSION`` for each dependency, those of the tests included, that has a lowest version."""
    lines = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    return [
        f"{needed.name}=={part.version}"
        for needed in map(Requirement, lines)
        for part in needed.specifier
        if part.operator == ">="
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join([*floors(), ""]))
