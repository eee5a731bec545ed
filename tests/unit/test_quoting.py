"""No message holds what stands in a file that isn't the user's own to show: not a word of it, whichever way it is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from batchgen import limits
from batchgen.errors import TransitionError
from batchgen.escapes import excerpt
from batchgen.ledger.integrity import wrong_cell
from batchgen.ledger.transitions import advance
from batchgen.models import Change, State
from tests.machine.test_ledger import job
from tests.support.pictures import make_png
from tests.support.program import Desk

KEY = "sk-live-51HxQ2eZvKYlo2C"
SHADOW = "root:$6$s4lt3d$h4sh0fr00t:19000:0:99999:7:::\ndaemon:$6$0thers$h4sh0fd43m0n:19000:0:99999:7:::\n"
SECRETS: dict[str, str | bytes] = {
    "a key": f"{KEY}\n",
    "a key without an end of line": KEY,
    "a key that YAML takes for an alias": f"*{KEY}\n",
    "a key that YAML takes for a tag": f"!{KEY}\n",
    "shadow": SHADOW,
    "variables": f"POWERTOKENS_API_KEY={KEY}\nOTHER_SECRET=0therS3cret\n",
    "credentials": f"[default]\naws_access_key_id = AKIAEXAMPLE99\naws_secret_access_key = {KEY}\n",
    "a netrc": f"machine example-host login somebody-there password {KEY}\n",
    "a page": f"<html><title>{KEY}</title>\n",
    "no UTF-8": b"s3cr3tw0rd,\xff\xfe," + KEY.encode(),
    "a YAML key twice": f"s3cr3tk3y: 1\nother: 2\ns3cr3tk3y: {KEY}\n",
    "a YAML alias": f"password: *{KEY}\n",
    "a YAML tag": f"password: !{KEY} x\n",
    "a YAML number": "password: !!int s3cr3tw0rd\n",
    "JSON": json.dumps({"type": "service_account", "private_key": KEY, "s3cr3tk3y": 1}),
    "known columns": f"image,mode,{KEY}\ns3cr3tw0rd.png,s3cr3tm0de,x\n",
    "bad values": "id,image,mode,duration\ns3cr3tid99,https://example.com/s3cr3timage.gif,s3cr3tm0de,s3cr3tdur4tion\n",
    "a column twice": f"{KEY},{KEY}\nx,y\n",
    "a JSON key twice": f'{{"{KEY}": 1, "{KEY}": 2}}\n',
    "bad JSON values": json.dumps({"id": "s3cr3tid99", "image": "a.png", "mode": KEY, "take": "s3cr3tt4ke"})
    + "\n",
}
PARTS = (
    "51HxQ2e",
    "h4sh0f",
    "0therS3",
    "AKIAEX",
    "example-host",
    "somebody-there",
    "s3cr3t",
    "service_account",
)


@pytest.fixture
def desk(desk: Desk) -> Desk:
    desk.write("m/a.png", make_png(300, 300))
    return desk


def everything_said(desk: Desk, *paths: str) -> str:
    said = ""
    for command in (["validate"], ["validate", "--json"], ["plan", "-v"], ["validate", "-v", "--strict"]):
        result = desk.run(*command, *paths)
        assert result.code == 2, result.err
        said += result.out + result.err
    return said


def nothing_of_it(said: str) -> bool:
    return not any(part in said for part in PARTS)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_table_that_is_a_link_out_of_its_folder_is_not_quoted(
    desk: Desk, secret: str | bytes, suffix: str
) -> None:
    (desk.folder / f"m/t.{suffix}").symlink_to(desk.write("elsewhere/secret", secret))
    defaults = {"model_name": "kling-v3", "prompt": "x"}
    entry = json.dumps({"version": 1, "defaults": defaults, "jobs": [{"table": f"t.{suffix}"}]})
    desk.write("m/m.yaml", entry)
    said = everything_said(desk, "m")
    assert f"m/t.{suffix}" in said
    assert nothing_of_it(said), said


@pytest.mark.parametrize(
    "kind", [kind for kind in SECRETS if "bad" not in kind and "n twice" not in kind and "known" not in kind]
)
def test_a_file_that_is_no_manifest_is_not_quoted(desk: Desk, kind: str) -> None:
    desk.write("secret", SECRETS[kind])
    said = everything_said(desk, "secret")
    assert "secret" in said
    assert nothing_of_it(said.replace("secret", "")), said


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
@pytest.mark.parametrize("name", ["a.yaml", "a.txt"])
def test_a_file_beside_a_picture_that_leads_elsewhere_is_not_quoted(
    desk: Desk, secret: str | bytes, name: str
) -> None:
    desk.write("m/in/a.png", make_png(300, 300))
    (desk.folder / "m/in" / name).symlink_to(desk.write("elsewhere/secret", secret))
    desk.write("m/m.yaml", json.dumps({"version": 1, "jobs": [{"folder": "in", "model_name": "kling-v3"}]}))
    said = everything_said(desk, "m")
    assert f"m/in/{name}" in said
    assert nothing_of_it(said), said


def test_a_table_in_its_place_is_quoted_as_far_as_that_helps(desk: Desk) -> None:
    long = "Beschreibung " * 40
    (desk.folder / "l").symlink_to("m")  # a link on the way to its folder says nothing against it
    desk.write("m/t.csv", f"image,Prmpt,{long}\nhttps://example.com/a.png,x,y\n")
    desk.write("m/m.yaml", json.dumps({"version": 1, "jobs": [{"table": "t.csv", "model_name": "kling-v3"}]}))
    result = desk.run("validate", "l/m.yaml")
    first, second = result.err.splitlines()
    assert first == 'l/t.csv:1:7: column 2: unknown key "Prmpt"; did you mean "prompt"?'
    assert second.startswith('l/t.csv:1:13: column 3: unknown key "Beschreibung Beschreibung')
    assert len(second) < 130


def test_an_excerpt_is_short_and_visible() -> None:
    assert excerpt("short") == "short"
    assert excerpt("a\nb\x1b[2J\u202e") == "a\\u000ab\\u001b[2J\\u202e"
    for text in ("x" * 10_000, "\x1b" * 10_000, "\u202e" * 59):
        assert len(excerpt(text)) == limits.EXCERPT
        assert excerpt(text).endswith("...") and excerpt(text).isprintable()


def of_many(desk: Desk, count: int) -> None:
    """A folder with so many pictures that are none."""
    for number in range(count):
        desk.write(f"m/in/{number:04}.png", b"GIF89a")
    entry = {"folder": "in", "model_name": "kling-v3", "prompt": "x"}
    desk.write("m/m.yaml", json.dumps({"version": 1, "jobs": [entry]}))


def test_of_many_refused_images_a_person_is_shown_the_first_and_told_where_all_are(desk: Desk) -> None:
    count = limits.JOBS_SHOWN + 7
    of_many(desk, count)
    desk.env |= {"POWERTOKENS_API_BASE": "http://127.0.0.1:9", "POWERTOKENS_API_KEY": KEY}
    ended, all_ended = (desk.run("run", "--json", *more, "m") for more in ([], ["-v"]))
    assert (len(ended.json["endings"]), ended.json["endings_left_out"]) == (limits.JOBS_SHOWN, 7)
    assert ended.json["buckets"]["unusable"] == len(all_ended.json["endings"]) == count
    assert len(desk.run("status", "--json").json["attention"]) == count
    planned, wholly = desk.run("plan", "m").out.splitlines(), desk.run("plan", "-v", "m").out.splitlines()
    assert len(wholly) == count + 2
    assert planned[limits.JOBS_SHOWN] == "... and 7 more: unusable; -v shows them all, --json has them"
    assert planned[limits.JOBS_SHOWN + 1 :] == wholly[count:]
    assert len(desk.run("plan", "--json", "m").json["jobs"]) == count
    checked, all_checked = (desk.run("validate", *more, "m").err.splitlines() for more in ([], ["-v"]))
    assert checked[-1] == "... and 7 more like these; `batchgen validate -v` shows them all"
    assert (len(checked), len(all_checked)) == (limits.PROBLEMS_SHOWN + 1, count)
    assert len(desk.run("status").out.splitlines()) < 30


def test_the_text_of_a_refused_image_is_bounded(desk: Desk) -> None:
    fields = {"image": "a" * 2000 + ".png", "image_tail": "b" * 2000 + ".png", "id": "x"}
    desk.write(
        "m/m.yaml", json.dumps({"version": 1, "jobs": [{**fields, "model_name": "kling-v3", "prompt": "x"}]})
    )
    (told,) = desk.run("validate", "m").err.splitlines()
    assert limits.MESSAGE < len(told) < limits.MESSAGE + 100


def test_a_list_of_warnings_that_is_full_says_how_many_there_are_besides(desk: Desk) -> None:
    jobs = [{"id": f"j{n}", "image": f"https://example.com/{n}.png"} for n in range(limits.PROBLEMS + 5)]
    desk.write("m/m.yaml", json.dumps({"version": 1, "defaults": {"model_name": "kling-v3"}, "jobs": jobs}))
    more = "m/m.yaml: warning: has 5 more warnings than the 1,000 that are listed"
    result = desk.run("validate", "m")
    assert (result.code, result.err.splitlines()[-1]) == (0, more)
    lines = desk.run("validate", "--strict", "m").err.splitlines()
    strict = "(a warning; --strict lets it refuse the manifest)"
    assert len(lines) == limits.PROBLEMS + 1
    assert all(line.endswith(strict) for line in lines)
    assert f"{more.replace('warning: ', '')} {strict}" in lines


def test_of_many_problems_the_first_are_shown_and_the_others_counted(desk: Desk) -> None:
    for number in range(3):
        desk.write(f"m/{number}.yaml", "version: 1\njobs:\n" + "- x\n" * 2_000)
    result = desk.run("validate", "m")
    assert len(result.err.splitlines()) == limits.PROBLEMS_SHOWN + 1
    assert result.err.splitlines()[-1].startswith("... and 1,003 more like these; ")
    found: dict[str, Any] = desk.run("validate", "--json", "m").json
    assert (len(found["problems"]), found["problems_left_out"]) == (limits.PROBLEMS_SHOWN, 1_003)
    refused = desk.run("plan", "--json", "m")
    assert (len(refused.json["problems"]), refused.json["problems_left_out"]) == (
        limits.PROBLEMS_SHOWN,
        1_003,
    )


def test_what_a_ledger_or_a_line_beside_clips_holds_is_quoted_no_further_than_an_excerpt() -> None:
    row = job()._replace(state=State.SUBMITTED)
    change = Change(
        row.external_task_id, State.DOWNLOADED, "found_on_disk", values={"video_size": "\x1b" + KEY * 1000}
    )
    with pytest.raises(TransitionError) as refused:
        advance(row, change, 0.0)
    for said in (str(refused.value), str(wrong_cell("state", "\x1b" + KEY * 1000, "is none that there is"))):
        assert len(said) < 300
        assert said.isprintable()
