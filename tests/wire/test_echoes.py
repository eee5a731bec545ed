"""A key that the other side says again, however it is spelt: nothing of it is in what is raised, written, logged, shown."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from batchgen.api.client import Api
from batchgen.cli import export_rows, logs
from batchgen.cli.output import Output
from batchgen.errors import ApiError, MaybeAccepted
from batchgen.ledger.writer import Ledger
from batchgen.masking import Mask
from batchgen.models import Change, ImageFile, State
from tests.machine.test_key import QUICK, told, urls
from tests.machine.test_ledger import ORIGIN, job
from tests.support.program import ENDS, Desk
from tests.support.spellings import SPELLINGS, readable
from tests.support.stored import stored
from tests.support.wire import PATH, answer, made, request, saying, served, wire

KEY = "sk-live-A7bQ9zKx+LmN5pRt8vWy/CdF4gHj6kLqZ0"
FIELDS = {"model_name": "kling-v3", "image": "https://example.com/a.png", "external_task_id": "m.a.1"}
ENDED = {"task_status": "succeed"}


def refusal(message: str, **more: str) -> bytes:
    return answer({"code": 1301, "message": message, **more}, 400)


def in_header(text: str) -> str:
    """As far as a header can hold it."""
    return "".join(c for c in text if " " <= c <= "~")


PLACES: Mapping[str, Callable[[str], bytes]] = {
    "message": lambda text: refusal(f"wrong key {text}."),
    "request_id": lambda text: refusal("no", request_id=text),
    "code": lambda text: answer({"error": {"message": "no", "code": text, "type": text}}, 403),
    "unclear": lambda text: answer({"code": 5000, "message": f"oops {text}"}, 500),
    "upstream": lambda text: answer({"error": {"message": json.dumps({"code": 1301, "message": text})}}, 400),
    "page": lambda text: answer(
        f"<html><title>{text}</title><body>Bearer {text}</body></html>".encode(), 502
    ),
    "text": lambda text: answer(f"you sent {text}".encode(), 200),
    "broken off": lambda text: answer(f"you sent {text}".encode())[:-1],
    "UTF-16": lambda text: answer(json.dumps({"code": 1301, "message": text}).encode("utf-16"), 400),
    "UTF-16 without a mark": lambda text: answer(f"you sent {text}".encode("utf-16-be"), 400),
    "UTF-32": lambda text: answer(json.dumps({"code": 1301, "message": text}).encode("utf-32-le"), 400),
    "Location": lambda text: answer(b"", 307, Location=f"https://example.com/?key={in_header(text)}"),
    "Retry-After": lambda text: answer({"code": 1302, "message": "slow"}, 429, Retry_After=in_header(text)),
    "Content-Encoding": lambda text: answer(b"x", 400, Content_Encoding=in_header(text)),
    "another header": lambda text: answer(b"", 500, X_Key=in_header(text), WWW_Authenticate=in_header(text)),
    "no HTTP": lambda text: f"Bearer {text}\r\n\r\n".encode(),
    "odd header": lambda text: f"HTTP/1.1 200 OK\r\nBearer {in_header(text)}\r\n\r\n".encode(),
    "odd length": lambda text: f"HTTP/1.1 200 OK\r\nContent-Length: {in_header(text)}\r\n\r\n".encode(),
    "reason": lambda text: f"HTTP/1.1 500 {in_header(text)}\r\nContent-Length: 0\r\n\r\n".encode(),
    "task id": made,
    "external id": lambda text: made("t1", task_info={"external_task_id": text}),
    "status": lambda text: made("t1", task_status=text),
    "fail_reason": lambda text: made("t1", task_status="failed", fail_reason=text),
    "task_status_msg": lambda text: made("t1", task_status="failed", task_status_msg=f"for {text}"),
    "units": lambda text: made("t1", task_status="succeed", final_unit_deduction=text),
    "clip": lambda text: made("t1", **ENDED, task_result={"videos": [{"url": f"https://a.org/{text}"}]}),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())
def test_an_answer_with_the_key_in_any_spelling_is_not_quoted(place: Callable[[str], bytes]) -> None:
    heard: dict[str, str] = {}

    async def scene() -> None:
        for name, spelt in SPELLINGS.items():
            said = place(spelt(KEY))
            async with wire(saying(said)) as url, Api(url, KEY, timeout=ENDS) as api:
                for number, step in enumerate((api.create(FIELDS), api.query("t1"))):
                    try:
                        heard[f"{name} {number}"] = repr(await step)
                    except ApiError as error:
                        heard[f"{name} {number}"] = told(error)

    asyncio.run(scene())
    assert len(heard) == 2 * len(SPELLINGS)
    assert {name: part for name, text in heard.items() if (part := readable(text, KEY))} == {}


def test_an_answer_in_another_encoding_is_no_answer_of_the_api() -> None:
    """What reads it as one letter after another, as everything else here does, would not see what it says."""
    body = json.dumps({"code": 0, "data": {"task_id": "t1"}})

    async def scene() -> None:
        for encoding in ("utf-16", "utf-16-le", "utf-32"):
            said = answer(body.encode(encoding))
            async with wire(saying(said)) as url, Api(url, KEY, timeout=ENDS) as api:
                with pytest.raises(MaybeAccepted, match="no UTF-8 text"):
                    await api.create(FIELDS)
        async with wire(saying(answer(body.encode("utf-8-sig")))) as url, Api(url, KEY, timeout=ENDS) as api:
            assert (await api.create(FIELDS)).task_id == "t1"

    asyncio.run(scene())


def test_a_task_id_with_the_key_in_it_names_no_task_and_one_that_shares_a_little_does() -> None:
    """It can't be kept, as it would be in the ledger and in addresses; whether a task was made stays a question."""

    async def scene() -> None:
        for task_id in (KEY.replace("+", "-").replace("/", "_"), f"task_{KEY[8:20]}"):
            async with wire(saying(made(task_id))) as url, Api(url, KEY, timeout=ENDS) as api:
                with pytest.raises(MaybeAccepted, match="without a usable task id"):
                    await api.create(FIELDS)
        for task_id in ("sk-live-1234", KEY[8:16], "8422509036"):
            async with wire(saying(made(task_id))) as url, Api(url, KEY, timeout=ENDS) as api:
                assert (await api.create(FIELDS)).task_id == task_id

    asyncio.run(scene())


# -- the sinks: each has the filter in front of it, whoever brings the text ---------------------------------------------


@contextlib.contextmanager
def streams() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        yield said


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_what_is_printed_and_logged_has_no_key(tmp_path: Path, spelt: Callable[[str], str]) -> None:
    text, mask = spelt(KEY), Mask(KEY)
    with streams() as said:
        args = argparse.Namespace(json=False, command="run", color="always", quiet=True, verbose=False)
        out = Output(args, mask)
        out.say(text, ValueError(text))
        out.lines([f"failed {text}"])
        out.document({"a": [text], text: 1})
        out.data(export_rows.csv_lines([{"a": text}], excel=True), end="\n")
        for form in ("json", "text"):
            file = tmp_path / form
            args.log_file, args.log_format = str(file), form
            with logs.configured(args, mask):
                logs.log.error("no %s", text, extra={"action": text, "external_task_id": text})
                try:
                    raise ValueError(text)
                except ValueError:
                    logs.log.exception("a bug")
            assert "[key]" in file.read_text()
            assert readable(file.read_text(), KEY) == ""
    assert said.getvalue().count("[key]") >= 8
    assert readable(said.getvalue(), KEY) == ""


def test_what_nobody_catches_and_what_libraries_log_has_no_key() -> None:
    code = f"""
import asyncio, logging, sys, threading
from batchgen.cli import output
from batchgen.masking import Mask
output.guard(Mask({KEY!r}))
logging.getLogger("aiohttp.client").warning("sent %s", {KEY!r})
def fail(): raise ValueError({KEY!r})
thread = threading.Thread(target=fail); thread.start(); thread.join()
class Odd:
    def __del__(self): fail()
del (odd := [Odd()])[0]
async def main():
    task = asyncio.create_task(asyncio.to_thread(fail)); await asyncio.sleep(0.05); del task
    import gc; gc.collect()
asyncio.run(main())
try: fail()
except ValueError as error: raise RuntimeError({KEY[4:]!r}) from error
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("ValueError: [key]") >= 4
    assert "sent [key]" in done.stderr and "RuntimeError: sk-l" not in done.stderr
    assert readable(done.stdout + done.stderr.replace(repr(KEY), "").replace(repr(KEY[4:]), ""), KEY) == ""


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_what_the_ledger_stores_has_no_key_and_ids_as_they_are(
    tmp_path: Path, spelt: Callable[[str], str]
) -> None:
    text, path = spelt(KEY), str(tmp_path / "ledger.db")

    async def steps() -> None:
        with Ledger.open(path, origin=ORIGIN, masked=Mask(KEY)) as ledger:
            for name, to in (("a", State.SUBMITTED), ("b", State.UNKNOWN), ("c", State.REJECTED)):
                row = await ledger.begin(job(name)._replace(image=f"/x/{text}"), detail={"said": text})
                values = {"task_id": f"t-{name}", "units_charged": text, "video_url": f"https://a.org/{text}"}
                values = values if to is State.SUBMITTED else {}
                change = Change(row.external_task_id, to, "heard", text, text, text, values, {"said": text})
                stored = await ledger.apply(change)
                assert stored.external_task_id == row.external_task_id
                assert stored.task_id == values.get("task_id")
            adopted = Change(
                job("d").external_task_id, State.SUBMITTED, "x", text, text, text, {"task_id": "t-d"}
            )
            await ledger.import_row(job("d"), adopted)
            await ledger.set_note("a note", text)
            await ledger.remember_images([ImageFile(f"/x/{text}", 1, 1, 1, "0" * 64, "png", 300, 300)])

    asyncio.run(steps())
    texts = b"".join(map(stored, tmp_path.iterdir())).decode("latin-1")
    assert texts.count("[key]") >= 12
    assert readable(texts, KEY) == ""


# -- a whole night ---------------------------------------------------------------------------------------------------


def test_a_night_among_echoes_leaves_nothing_of_the_key_anywhere(tmp_path: Path) -> None:
    """Each job is refused, or fails to come home, in another spelling."""
    desk = Desk(tmp_path)
    desk.write("m.yaml", urls(2 * len(SPELLINGS)))
    spelt = {f"m.j{n}.": spell(KEY) for n, spell in enumerate([*SPELLINGS.values()] * 2)}
    half = len(SPELLINGS)

    def said(name: str) -> tuple[int, str]:
        number = next(n for n, start in enumerate(spelt) if name.startswith(start))
        return number, spelt[f"m.j{number}."]

    async def hosts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            _, text = said(heard.path.removeprefix("/"))
            page = f"<html><title>{text}</title>{text}</html>".encode()
            writer.write(answer(page, 403, Server=in_header(text), Retry_After=in_header(text)))

    async def api(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heard = await request(reader)
            if heard.method == "POST":
                name = json.loads(heard.body)["external_task_id"]
                number, text = said(name)
                body = {"code": 1301, "message": f"refused for {text}", "request_id": text}
                task = made(f"t{number}", task_info={"external_task_id": name})
                writer.write(answer(body, 400, X_Key=in_header(text)) if number < half else task)
                continue
            asked = heard.path.removeprefix(f"{PATH}/")
            if not asked.startswith("t"):
                writer.write(answer({"code": 1203, "message": f"nothing for {said(asked)[1]}"}, 404))
                continue
            text = [*spelt.values()][int(asked[1:])]
            videos = [{"url": f"{base}/m.j{asked[1:]}.x"}]
            ended = {"task_status": "succeed", "task_status_msg": text, "task_result": {"videos": videos}}
            writer.write(made(asked, **ended, final_unit_deduction=text))

    with served(hosts) as base, served(api) as url:
        desk.env |= {"POWERTOKENS_API_BASE": url, "POWERTOKENS_API_KEY": KEY}
        run = desk.run("run", "-v", "--log-file", "log", *QUICK, "m.yaml")
        again = desk.run("collect", "--json", "--log-file", "log.json", "--log-format", "json", *QUICK[:6])
    shown = [desk.run(*line.split()) for line in ("status -v", "status --json", "export", "plan -v m.yaml")]
    buckets = [row["state"] for row in desk.export()]
    assert (buckets.count("rejected"), buckets.count("succeeded")) == (half, half)
    assert (run.code, again.code) == (1, 1)
    texts = "".join(one.out + one.err for one in (run, again, *shown))
    assert texts.count("[key]") > half
    assert readable(texts, KEY) == ""
    for file in (file for file in tmp_path.rglob("*") if file.is_file()):
        assert readable(stored(file).decode("latin-1"), KEY) == "", file
        assert readable(str(file), KEY) == ""
