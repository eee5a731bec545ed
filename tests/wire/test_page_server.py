"""The page from this machine: who gets it, what it serves, and what its buttons write. Requests are sent byte for byte."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from batchgen import limits
from batchgen.errors import LedgerError, UsageError
from batchgen.ledger.reader import Records
from batchgen.masking import Mask
from batchgen.models import Record, State
from batchgen.page.content import Content
from batchgen.page.server import PageServer
from tests.support.book import KEY, Book
from tests.support.pictures import make_png
from tests.support.program import loop_in_thread, until

ENDS = 20.0
CHECKOUT = Path(__file__).parents[2]
TYPE = {"Content-Type": "application/json"}


@dataclass
class Open:
    """A page's server, beside the test."""

    server: PageServer
    path: Path

    def ask(
        self, path: str = "", method: str = "GET", body: Any = None, **headers: str | None
    ) -> http.client.HTTPResponse:
        """Send a request as the page's own browser does, but for ``headers``; the answer's body has been read."""
        own = f"127.0.0.1:{self.server.port}"
        given: dict[str, str | None] = {
            "Host": own,
            "X-Batchgen-Token": self.server.token,
            "Sec-Fetch-Site": "same-origin",
        }
        if method == "POST":
            given |= {"Origin": f"http://{own}", **TYPE}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        whole = path if path.startswith("/") else f"/{self.server.token}/{path}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=ENDS)) as connection:
            connection.putrequest(method, whole, skip_host=True)
            for name, value in given.items():
                if value is not None:
                    connection.putheader(name, value)
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            answer = connection.getresponse()
            answer.body = answer.read()  # type: ignore[attr-defined]
            return answer

    def judge(
        self, record: Record, verdict: str | None, note: str | None = None, **headers: str | None
    ) -> int:
        body = {"external_task_id": record.external_task_id, "verdict": verdict, "note": note}
        return self.ask("verdicts", "POST", body, **headers).status

    def said(self, record: Record) -> list[tuple[str | None, str | None]]:
        with Records.read(str(self.path)) as ledger:
            return [(one.verdict, one.note) for one in ledger.verdicts.history(record.external_task_id)]

    def clips(self) -> list[str]:
        """The addresses of the page's clips."""
        found = json.loads(text(self.ask("data")))
        return [found["texts"][number - 1] if number else "" for number in found["columns"]["clip"]]


def text(answer: http.client.HTTPResponse) -> str:
    return bytes(answer.body).decode()  # type: ignore[attr-defined]


@contextmanager
def opened(path: Path) -> Iterator[Open]:
    with loop_in_thread() as loop:

        def wait(work: Any) -> Any:
            return asyncio.run_coroutine_threadsafe(work, loop).result(ENDS)

        content = Content(str(path), lambda: 1.7e9)

        async def start() -> PageServer:
            holds_key = Mask(KEY).forget(bytes(16)).holds
            server = PageServer(content, by="you@here", clock=lambda: 1.7e9, holds_key=holds_key)
            await server.start()
            return server

        server = wait(start())
        try:
            yield Open(server, path)
        finally:
            wait(server.stop())
            content.close()


@pytest.fixture
def book(tmp_path: Path) -> Book:
    (tmp_path / "tote.png").write_bytes(make_png(seed=1))
    return Book(tmp_path)


@pytest.fixture
def tote(book: Book) -> Record:
    with book:
        return book.add("tote", picture="tote.png")


@pytest.fixture
def page(book: Book, tote: Record) -> Iterator[Open]:
    with opened(book.path) as page:
        yield page


@contextmanager
def events(page: Open) -> Iterator[socket.socket]:
    """An open stream of events."""
    with socket.create_connection(("127.0.0.1", page.server.port), timeout=ENDS) as stream:
        own = f"127.0.0.1:{page.server.port}"
        stream.sendall(
            f"GET /{page.server.token}/events HTTP/1.1\r\nHost: {own}\r\nX-Batchgen-Token: {page.server.token}\r\n\r\n".encode()
        )
        assert hears(stream, b": open")
        yield stream


def hears(stream: socket.socket, word: bytes) -> bool:
    """Whether ``word`` comes, in time."""
    heard = b""
    while word not in heard:
        piece = stream.recv(4096)
        if not piece:
            return False
        heard += piece
    return True


# -- who gets it ------------------------------------------------------------------------------------------------------


def test_the_page_is_served_with_a_policy_and_shown_in_no_other(page: Open) -> None:
    answer = page.ask(X_Batchgen_Token=None, Sec_Fetch_Site="none")
    assert (answer.status, answer.headers.get_content_type()) == (200, "text/html")
    assert "batchgen-live" in text(answer) and "tote" in text(page.ask("data"))
    for path in ("", "data", "overview", page.clips()[0], "none"):
        headers = page.ask(path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], path
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert (headers["Cross-Origin-Resource-Policy"], headers["X-Frame-Options"]) == (
            "same-origin",
            "DENY",
        )
        assert "Access-Control-Allow-Origin" not in headers


def test_nobody_else_gets_a_byte_of_it_or_writes_one(page: Open, tote: Record) -> None:
    own = f"127.0.0.1:{page.server.port}"
    strangers: list[tuple[int, dict[str, str | None]]] = [
        (421, {"Host": f"evil.example:{page.server.port}"}),  # a name that was made to lead here
        (421, {"Host": f"localhost:{page.server.port}"}),
        (400, {"Host": None}),
        (403, {"Origin": "https://evil.example"}),
        (403, {"Origin": "null"}),
        (403, {"Sec-Fetch-Site": "cross-site"}),
        (403, {"X-Batchgen-Token": None}),
        (403, {"X-Batchgen-Token": "guessed"}),
    ]
    for status, headers in strangers:
        for path in ("data", "overview", "events"):
            answer = page.ask(path, "GET", None, **headers)
            assert (answer.status, "tote" in text(answer)) == (status, False), (path, headers)
        assert page.judge(tote, "keep", **headers) == status, headers
    for path in ("/", "/guessed/", "/guessed/data", "/verdicts", f"/{page.server.token[:-1]}/"):
        assert page.ask(path).status == 404
        assert page.ask(path, "POST", {}).status in (404, 405)
    for path in ("clips%2F/data", "thumbnails%2F0/data", "clips%2F/events"):  # no way around the header
        answer = page.ask(f"/{page.server.token}%2F{path}", X_Batchgen_Token=None)
        assert (answer.status, "tote" in text(answer)) == (404, False), path
    assert page.judge(tote, "keep", Origin=None) == 403
    assert page.judge(tote, "keep", Content_Type="text/plain") == 415  # which a form could send
    assert page.ask("verdicts", "OPTIONS", Origin="https://evil.example").status == 403
    assert page.ask("verdicts", "PUT", {}, Origin=f"http://{own}").status == 405
    assert page.said(tote) == []


def test_the_address_for_the_browser_leads_to_the_page_once(page: Open) -> None:
    once = page.server.url_for_browser()
    assert page.server.token not in once
    path = once.removeprefix(f"http://127.0.0.1:{page.server.port}")
    for status in (303, 404, 404):
        answer = page.ask(path, X_Batchgen_Token=None, Sec_Fetch_Site="none")
        assert answer.status == status
        assert (answer.headers.get("Location") == f"/{page.server.token}/") == (status == 303)
    assert page.ask("/open/guessed").status == 404


def test_it_listens_on_this_machine_alone_and_says_where_a_port_is_taken(page: Open, book: Book) -> None:
    async def again() -> None:
        content = Content(str(book.path), lambda: 1.7e9)
        server = PageServer(content, by="you@here", clock=lambda: 1.7e9)
        try:
            await server.start(page.server.port)
        finally:
            content.close()

    assert page.server.url.startswith("http://127.0.0.1:")
    with pytest.raises(UsageError, match="another --port may be free"):
        asyncio.run(again())


# -- what is served ---------------------------------------------------------------------------------------------------


def test_a_clip_comes_whole_or_in_the_range_that_is_asked_for(page: Open, tote: Record) -> None:
    (address,) = page.clips()
    whole = Path(tote.output_path).read_bytes()
    size = len(whole)
    answer = page.ask(address, X_Batchgen_Token=None)
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, whole, "video/mp4")  # type: ignore[attr-defined]
    assert answer.headers["Accept-Ranges"] == "bytes"
    tag = answer.headers["ETag"]
    for asked, start, stop in (
        ("0-9", 0, 10),
        ("5-", 5, size),
        ("-7", size - 7, size),
        ("0-999999999", 0, size),
    ):
        answer = page.ask(address, Range=f"bytes={asked}", If_Range=tag)
        assert (answer.status, answer.body) == (206, whole[start:stop]), asked  # type: ignore[attr-defined]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert page.ask(address, Range="bytes=5-", If_Range='"other"').body == whole  # type: ignore[attr-defined]
    for asked in (f"{size}-", "9-3", "x"):
        answer = page.ask(address, Range=f"bytes={asked}")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}"), asked
    answer = page.ask(address, "HEAD")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", str(size))  # type: ignore[attr-defined]


def test_nothing_else_of_the_disk_is_served(page: Open, tote: Record, tmp_path: Path) -> None:
    (address,) = page.clips()
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    for path in (
        *(
            "clips/1.mp4",
            "clips/-1.mp4",
            "clips/0",
            "clips/999999999.mp4",
            "clips/0.mp4/x",
            "clips/../ledger.db",
        ),
        *(
            "clips/..%2fledger.db",
            "thumbnails/../ledger.db",
            "thumbnails/..%2f..%2fledger.db",
            "thumbnails/00.jpg",
        ),
        *("ledger.db", "../ledger.db", "//etc/passwd", "tote.png"),
    ):
        answer = page.ask(path)
        assert answer.status in (400, 403, 404), (path, answer.status)
        assert "SQLite" not in text(answer) and "root:" not in text(answer)
    clip = Path(tote.output_path)
    clip.unlink()
    clip.symlink_to(secret)
    assert page.ask(address).status == 404  # through no link
    clip.unlink()
    folder = clip.parent
    folder.rename(tmp_path / "aside")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / clip.name).write_bytes(b"secret")
    folder.symlink_to(tmp_path / "elsewhere")
    assert page.ask(address).status == 404
    folder.unlink()
    assert page.ask(address).status == 404


def test_why_a_picture_has_no_thumbnail_is_told(book: Book, tote: Record) -> None:
    (book.folder / "tote.png").write_bytes(b"no picture any more")
    with opened(book.path) as page:
        until(lambda: any(json.loads(text(page.ask("data")))["columns"]["lacks"]))
        found = json.loads(text(page.ask("data")))
        assert "its bytes are others" in found["texts"][found["columns"]["lacks"][0] - 1]


def test_thumbnails_are_made_beside_and_told_of(page: Open) -> None:
    until(lambda: any(json.loads(text(page.ask("data")))["columns"]["thumb"]))
    found = json.loads(text(page.ask("data")))
    answer = page.ask(f"{found['thumbnails']}{found['columns']['thumb'][0]}.jpg", X_Batchgen_Token=None)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/jpeg")


def test_of_the_thumbnails_folder_its_own_files_are_served_and_through_no_link(page: Open) -> None:
    until(lambda: any(json.loads(text(page.ask("data")))["columns"]["thumb"]))
    found = json.loads(text(page.ask("data")))
    folder, name = page.path.parent / "ledger_files", f"{found['columns']['thumb'][0]}.jpg"
    (folder / "0123456789abcdef.jpg").write_bytes(b"of nothing on this page")
    assert page.ask(f"{found['thumbnails']}0123456789abcdef.jpg").status == 404
    (folder / name).unlink()
    (folder / name).symlink_to(page.path)
    assert page.ask(f"{found['thumbnails']}{name}").status == 404


# -- what is written --------------------------------------------------------------------------------------------------


def test_a_verdict_is_on_disk_when_it_is_answered_and_the_other_tab_hears_of_it(
    page: Open, tote: Record
) -> None:
    with events(page) as one, events(page) as other:
        assert page.judge(tote, "retake", "slower <b>") == 200
        assert page.said(tote) == [("retake", "slower <b>")]
        assert hears(one, b"event: changed") and hears(other, b"event: changed")
    found = json.loads(text(page.ask("data")))
    assert (found["more"]["0"]["verdict"], found["more"]["0"]["note"]) == ("retake", "slower <b>")
    assert page.judge(tote, "keep", "") == page.judge(tote, None) == 200
    assert page.said(tote)[1:] == [("keep", None), (None, None)]
    with Records.read(str(page.path)) as ledger:
        assert ledger.orders.standing() == []  # a verdict orders nothing


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"7", b"[" * 10_000, b"x" * 20_000),
        *({}, {"external_task_id": 7, "verdict": "keep"}, {"external_task_id": "x", "verdict": "perhaps"}),
        {"external_task_id": "x", "verdict": "keep", "note": 7},
        {"external_task_id": "x", "verdict": "keep", "note": "x" * 1001},
    ],
)
def test_what_is_no_verdict_is_refused(page: Open, tote: Record, body: Any) -> None:
    assert page.ask("verdicts", "POST", body).status in (400, 413)
    assert page.said(tote) == []


def test_a_note_that_holds_the_key_is_not_kept(page: Open, tote: Record) -> None:
    for note in (KEY, f"slower, {KEY.upper()}!"):
        body = {"external_task_id": tote.external_task_id, "verdict": "retake", "note": note}
        wish = {"jobs": [{"manifest": "shop", "job_id": "tote", "note": note}]}
        for path, given in (("verdicts", body), ("orders", wish)):
            answer = page.ask(path, "POST", given)
            assert answer.status == 400 and "holds the API key" in text(answer)
    assert page.said(tote) == []
    with Records.read(str(page.path)) as ledger:
        assert ledger.orders.standing() == []


def test_what_is_not_there_is_not_judged(page: Open, book: Book, tote: Record) -> None:
    for name in ("nobody", "half of a pair \ud800"):
        answer = page.ask("verdicts", "POST", {"external_task_id": name, "verdict": "keep"})
        assert answer.status == 409 and "nothing was written" in text(answer)


def test_orders_are_another_request_and_are_made_once(page: Open, tote: Record) -> None:
    wish = {"jobs": [{"manifest": "shop", "job_id": "tote", "note": "slower"}]}
    first = json.loads(text(page.ask("orders", "POST", wish)))
    assert first == {"ordered": [{"manifest": "shop", "job_id": "tote", "take": 2}], "refused": []}
    again = json.loads(text(page.ask("orders", "POST", wish)))
    assert again["ordered"] == [] and again["refused"][0]["reason"] == "take 2 is ordered already"
    wrong: list[dict[str, Any]] = [{}, {"jobs": []}, {"jobs": ["tote"]}, {"jobs": [{"manifest": "shop"}]}]
    wrong.append({"jobs": [{**wish["jobs"][0], "note": "x" * (limits.NOTE + 1)}]})
    for bad in wrong:
        assert page.ask("orders", "POST", bad).status == 400
    assert page.ask("orders", "POST", wish, Origin="https://evil.example").status == 403
    with Records.read(str(page.path)) as ledger:
        assert [(one.take, one.note) for one in ledger.orders.standing()] == [(2, "slower")]


def test_a_night_that_is_to_be_taken_again_whole_is_one_order(page: Open, tote: Record) -> None:
    jobs = [{"manifest": "shop", "job_id": "tote", "note": "slower, é"}]
    jobs += [{"manifest": "shop", "job_id": f"bag-{number}", "note": "x" * 900} for number in range(2_000)]
    answer = page.ask("orders", "POST", {"jobs": jobs})
    assert answer.status == 200
    made = json.loads(text(answer))
    assert (len(made["ordered"]), len(made["refused"])) == (1, 2_000)


# -- while a run is on ------------------------------------------------------------------------------------------------


def test_a_run_that_starts_later_is_followed_while_it_holds_the_ledger(
    page: Open, book: Book, tote: Record
) -> None:
    with events(page) as stream, book:
        book.add("vase", State.SUBMITTED)
        assert hears(stream, b"event: changed")
        assert [*json.loads(text(page.ask("data")))["columns"]["job"]] == ["tote", "vase"]
        assert page.judge(tote, "keep") == 200  # the run has the lock
        assert hears(stream, b"event: changed")
    assert page.said(tote) == [("keep", None)]


def test_a_run_that_is_killed_leaves_the_page_as_it_was_and_the_next_one_is_followed(
    page: Open, book: Book, tote: Record
) -> None:
    run = (
        "import pathlib, sys; from batchgen.models import State; from tests.support.book import Book\n"
        "with Book(pathlib.Path(sys.argv[1])) as book:\n"
        "    book.add('vase', State.SUBMITTED); print('made', flush=True); sys.stdin.read()"
    )
    with events(page) as stream:
        command = [sys.executable, "-c", run, os.path.dirname(book.path)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"made\n"
            process.kill()
        assert hears(stream, b"event: changed")
        assert [*json.loads(text(page.ask("data")))["columns"]["job"]] == ["tote", "vase"]
        assert page.judge(tote, "retake") == 200
        assert hears(stream, b"event: changed")
        with book:
            book.add("lamp", State.SUBMITTED)
            assert hears(stream, b"event: changed")
    assert [*json.loads(text(page.ask("data")))["columns"]["job"]] == ["tote", "vase", "lamp"]
    assert page.said(tote) == [("retake", None)]


def test_a_ledger_in_another_ones_place_is_read_and_one_that_is_gone_is_waited_for(
    page: Open, book: Book, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with Book(tmp_path / "other") as other:
        other.add("lamp", clip=False)
    with events(page) as stream:
        for suffix in ("", "-wal", "-shm"):
            (tmp_path / f"ledger.db{suffix}").unlink(missing_ok=True)
        answer = page.ask("data")
        assert answer.status in (200, 409)
        os.rename(other.path, book.path)
        assert hears(stream, b"event: changed")
    assert json.loads(text(page.ask("data")))["columns"]["job"] == ["lamp"]


def test_where_there_is_no_ledger_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Content(str(tmp_path / "none.db"), lambda: 1.7e9)
    assert os.listdir(tmp_path) == []


def test_what_still_reads_when_it_is_closed_ends_with_an_error_and_harms_nothing(
    book: Book, tote: Record
) -> None:
    """Threads of a server outlive the requests that they work for."""
    for _ in range(20):
        content = Content(str(book.path), lambda: 1.7e9)
        with ThreadPoolExecutor(4) as threads:
            reads = [threads.submit(content.version) for _ in range(200)]
            content.close()
        errors = [read.exception() for read in reads]
        assert all(error is None or "is closed" in str(error) for error in errors)
        with pytest.raises(LedgerError, match="is closed"):
            content.show()
