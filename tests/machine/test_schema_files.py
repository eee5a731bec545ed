"""The schemas are found where the program is installed, and loaded where they are needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
TITLE = json.loads((SCHEMAS / "manifest.schema.json").read_text())["title"]


def run(code: str, folder: Path, python_path: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(python_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_schemas_are_found_inside_an_installed_package(tmp_path: Path) -> None:
    package = tmp_path / "site" / "batchgen"
    shutil.copytree(ROOT / "batchgen", package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(SCHEMAS, package / "schemas", dirs_exist_ok=True)
    code = "from batchgen.request import schema; print(schema.__file__, schema.load('manifest')['title'])"
    expected = f"{package / 'request' / 'schema.py'} {TITLE}"
    assert run(code, tmp_path, tmp_path / "site") == expected


def test_missing_schemas_are_an_incomplete_installation(tmp_path: Path) -> None:
    package = tmp_path / "site" / "batchgen"
    shutil.copytree(ROOT / "batchgen", package, ignore=shutil.ignore_patterns("__pycache__", "schemas"))
    code = (
        "from batchgen import errors; from batchgen.request import schema\n"
        "try: schema.load('request')\n"
        "except errors.UsageError as error: print(error)"
    )
    assert "image2video.schema.json is missing; install it again" in run(code, tmp_path, tmp_path / "site")


def test_the_validator_is_not_imported_before_it_is_needed(tmp_path: Path) -> None:
    code = "import sys, batchgen.request.schema, batchgen.request.rules; print('jsonschema' in sys.modules)"
    assert run(code, tmp_path, ROOT) == "False"
