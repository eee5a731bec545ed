"""The page on security promises only what a test holds."""

from __future__ import annotations

import ast
import re

from tests.support.documents import PACKAGE, README, ROOT, rows, section

PAGE = (PACKAGE / "manual" / "security.md").read_text("utf-8")


def test_every_promise_is_held_by_a_test_that_exists() -> None:
    promises = rows(section(PAGE, "What holds"))
    assert promises
    for promise, held_by in promises:
        tests = re.findall(r"`(test_\w+\.py)::(test_\w+)`", held_by)
        assert tests, promise
        for file, name in tests:
            (found,) = (ROOT / "tests").rglob(file)
            tree = ast.parse(found.read_text("utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (
                file,
                name,
            )


def test_readme_leads_to_the_page() -> None:
    assert "(batchgen/manual/security.md)" in README
