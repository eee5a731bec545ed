"""ARCHITECTURE.md says what the code is: its layers, its modules, its states."""

from __future__ import annotations

import re

from batchgen.ledger.transitions import ALLOWED
from batchgen.models import State
from tests.docs.test_layers import ROOMS, room, sources
from tests.support.documents import ARCHITECTURE, ROOT, blocks, codes, rows, section


def test_every_module_is_named_once_in_its_room() -> None:
    named = [
        ("" if where == "the top" else where, code)
        for where, name, _ in rows(section(ARCHITECTURE, "Modules"))
        for code in codes(name)
    ]
    modules = {
        (found, module.removeprefix(f"{found}.") or "__init__")
        for module in sources()
        if (found := "" if module == "__main__" else room(module)) != module or found == ""
    }
    assert set(named) == {*modules, ("sandbox", "__init__")}
    assert len(named) == len(set(named))


def test_the_rooms_stand_in_their_order_with_the_reason_that_they_give_themselves() -> None:
    said = [(name.strip("`/"), reason) for name, reason in rows(section(ARCHITECTURE, "Layers"))]
    names = [name for line in ROOMS for name in line if name]
    assert [name for name, _ in said] == ["the top", *names, "sandbox"]
    for name, reason in said[1:]:
        assert sources()[name].startswith(f'"""{reason}.'), name


def test_the_diagram_has_every_transition_that_is_allowed_and_no_other() -> None:
    (diagram,) = blocks(ARCHITECTURE, "mermaid")
    drawn = re.findall(r"^ *(\S+) --> (\S+)", diagram, re.M)
    allowed = [(before.value, after.value) for before, others in ALLOWED.items() for after in others]
    ends = [("[*]", State.PENDING.value)]
    ends += [(state.value, "[*]") for state in State if ALLOWED[state] <= {state}]
    assert set(drawn) == {*allowed, *ends}
    assert len(drawn) == len(set(drawn))


def test_a_crash_in_every_state_that_is_not_an_end_leads_somewhere() -> None:
    left = [code for row in rows(section(ARCHITECTURE, "A crash here leads to")) for code in codes(row[1])]
    unfinished = {state.value for state in State if not ALLOWED[state] <= {state}} - {State.REJECTED.value}
    assert {code for code in left if not code.startswith(".")} == unfinished | {State.DOWNLOADED.value}


def test_every_file_to_open_is_there() -> None:
    named = [code for row in rows(section(ARCHITECTURE, "To change X, open Y")) for code in codes(row[1])]
    assert named
    assert [name for name in named if not (ROOT / name).is_file()] == []
