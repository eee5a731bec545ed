"""Every row of the table: who is measured against whom, and what the ratio should be."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.measure import (
    BATCHGEN,
    MB,
    ROOT,
    Contender,
    baseline,
    environment,
    in_turn,
    make,
    note,
    run,
    server,
)
from tests.bench.server import count

KEY = {"POWERTOKENS_API_KEY": "bench"}
NOWHERE = {**KEY, "POWERTOKENS_API_BASE": "http://127.0.0.1:9"}


@dataclass(frozen=True)
class Goal:
    """One thing that was asked for, and what was measured. ``least``: more is better; ``under``: the limit is too much."""

    what: str
    value: float
    limit: float
    unit: str = "x"
    least: bool = False
    under: bool = False

    @property
    def met(self) -> bool:
        if self.under:
            return self.value < self.limit
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass
class Row:
    """A row's measurements, as they go into the JSON."""

    title: str
    goals: list[Goal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def tell(self, *contenders: Contender, unit: str = "", per: float = 1.0) -> None:
        """Add the figures of contenders; ``per`` turns units per second into ``unit``."""
        for one in contenders:
            self.figures[one.name] = {
                "seconds": one.seconds,
                "cpu_seconds": one.cpu,
                "peak_mb": one.peak / MB,
                "all_seconds": [each.seconds for each in one.runs],
                **({unit: one.rate / per} if unit else {}),
            }


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder of its own for a row, gone with it."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"row-{time.monotonic_ns()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _fresh(folder: Path, *names: str) -> Callable[[], None]:
    """Remove what an earlier repetition left: files by the start of their names, and folders."""

    def clear() -> None:
        for name in names:
            for path in folder.glob(f"{name}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return clear


def _batchgen(folder: Path, *arguments: str, url: str | None = None, **more: Any) -> Contender:
    env = NOWHERE if url is None else {**KEY, "POWERTOKENS_API_BASE": url}
    return Contender("batchgen", [*BATCHGEN, *arguments], folder, env=env, **more)


# -- uploads and creates --------------------------------------------------------------------------------------------


def the_server(folder: Path, repetitions: int) -> Row:
    """What the counting server takes, so that it can be seen not to be what is measured below."""
    row = Row("the counting server alone")
    with server() as url:
        small = Contender("small requests", baseline("flood", url, 32, 20_000, 300), folder, units=20_000)
        closing = Contender(
            "small requests, a connection each",
            baseline("flood", url, 32, 10_000, 300, "close"),
            folder,
            units=10_000,
        )
        large = Contender(
            "large requests", baseline("flood", url, 16, 256, 10_700_000), folder, units=256 * 10.7
        )
        in_turn([small, closing, large], repetitions)
    row.tell(small, closing, unit="requests_per_second")
    row.tell(large, unit="mb_per_second")
    return row


def uploads(folder: Path, repetitions: int) -> Row:
    """Large local images, 16 in flight, with checks, digests and the ledger."""
    count = 256
    row = Row(f"{count} local images of 8 MB, 16 in flight")
    make("large_images", folder / "large", count, cwd=folder)
    size = sum(path.stat().st_size for path in (folder / "large").iterdir()) / MB
    with server() as url:
        plain = Contender(
            "(a) aiohttp loop", baseline("plain", url, 16, "large"), folder, units=size, expect=str(count)
        )
        ours = _batchgen(
            folder,
            "run",
            "--submit-only",
            "--concurrency",
            "16",
            "--max-running",
            "1000",
            "--ledger",
            "ledger.db",
            "large.yaml",
            url=url,
            units=size,
            prepare=_fresh(folder, "ledger.db", "clips"),
        )
        checks = _batchgen(folder, "plan", "--ledger", "none.db", "large.yaml", url=url, units=size)
        checks.name = "batchgen, the checks and digests alone"
        in_turn([plain, ours, checks], repetitions)
    row.tell(plain, ours, checks, unit="mb_per_second")
    row.goals += [
        Goal("MB/s over (a)", ours.rate / plain.rate, 5, least=True),
        Goal("peak memory", ours.peak / MB, 100, "MB"),
    ]
    row.remarks.append(
        f"CPU over (a): {plain.cpu / ours.cpu:.2f}x less; memory of (a): {plain.peak / MB:.0f} MB"
    )
    return row


def prepare(folder: Path, repetitions: int) -> Row:
    """Photos of 24 megapixels: turned upright and made smaller, with checks, digests, the ledger and their creates."""
    count = 100
    row = Row(f"{count} JPEGs of 24 megapixels, prepared")
    make("photos", folder / "photos", count, cwd=folder)
    shots = [f"photos/{path.name}" for path in sorted((folder / "photos").iterdir())]
    for name, pixels in (("upright", 3840 * 2160), ("smaller", 1920 * 1080)):
        with server() as url:
            ours = _batchgen(
                folder,
                *("run", "--submit-only", "--concurrency", "8", "--max-running", "1000"),
                *("--ledger", "ledger.db", f"{name}.yaml"),
                url=url,
                units=count,
                prepare=_fresh(folder, "ledger.db", "clips", "cache"),
            )
            ours.env = {**ours.env, "XDG_CACHE_HOME": str(folder / "cache")}
            ours.name = f"batchgen, {name}"
            contenders = [ours]
            if shutil.which("mogrify"):
                (folder / "out").mkdir(exist_ok=True)
                how = ("-auto-orient", "-resize", f"{pixels}@>", "-strip", "-quality", "92")
                command = ["mogrify", "-path", "out", *how, *shots]
                contenders.append(Contender(f"mogrify, {name}", command, folder, units=count))
            else:
                row.remarks.append(
                    "beside mogrify: not measured, ImageMagick isn't installed on this machine"
                )
            in_turn(contenders, repetitions)
            ours.prepare()
            whole = _all_memory(ours) / MB
        row.tell(*contenders, unit="pictures_per_second")
        for other in contenders[1:]:
            row.goals.append(
                Goal(f"pictures a second over mogrify, {name}", ours.rate / other.rate, 2, least=True)
            )
            row.remarks.append(f"{name}: {other.cpu / ours.cpu:.2f}x less CPU than mogrify")
        row.goals.append(Goal(f"memory of all processes, {name}", whole, 400, "MB", under=True))
    return row


def _all_memory(contender: Contender) -> float:
    """Bytes that a program and all that it starts have at most, at one time; pages that they share count once."""
    process = subprocess.Popen(
        contender.command, cwd=contender.cwd, env=environment(contender.env), stdout=subprocess.DEVNULL
    )
    most = 0.0
    while process.poll() is None:
        most = max(most, sum(map(_proportional, _with_children(process.pid))))
        time.sleep(0.02)
    if process.returncode not in contender.codes:
        raise RuntimeError(f"{contender.name} ended with {process.returncode}")
    return most


def _with_children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(one for child in found for one in _with_children(int(child)))]


def _proportional(pid: int) -> float:
    """The memory of a process in bytes, of shared pages its part; 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((1024.0 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0.0)


def creates(folder: Path, repetitions: int) -> Row:
    """Small jobs with URL images, 32 in flight, fsync on."""
    jobs = 5000
    row = Row("5,000 jobs with URL images, 32 in flight, --submit-only")
    make("table", folder / "night.csv", jobs, cwd=folder)
    make("table", folder / "earlier.csv", 100, jobs, cwd=folder)
    clear = _fresh(folder, "ledger.db", "results.jsonl", "state.json", "bodies")

    def clear_bodies() -> None:
        clear()
        (folder / "bodies").mkdir()

    def earlier_night() -> None:
        clear()
        shutil.copy(folder / "earlier.db", folder / "ledger.db")

    with server() as url:
        make("done", folder / "earlier.db", folder / "earlier.yaml", url, cwd=folder)
        plain = Contender(
            "(a) aiohttp loop", baseline("plain", url, 32, "night.csv"), folder, jobs, expect=str(jobs)
        )
        cookbook = Contender(
            "(c) dispatch loop, token bucket, JSONL",
            baseline("cookbook", url, 32, "night.csv", "results.jsonl"),
            folder,
            jobs,
            prepare=clear,
            expect=str(jobs),
        )
        threads = Contender(
            "(d) threads, JSON file rewritten",
            baseline("threads", url, 32, "night.csv", "state.json"),
            folder,
            jobs,
            prepare=clear,
            expect=str(jobs),
        )
        shells = {
            tool: Contender(
                f"(b) {tool} and curl",
                baseline("shell", tool, url, 32, "night.csv", folder / "bodies"),
                folder,
                jobs,
                prepare=clear_bodies,
                expect=str(jobs),
            )
            for tool in ("xargs", "parallel")
            if shutil.which(tool) and shutil.which("curl")
        }
        alone, asking = (
            Contender(name, baseline("plain", url, 32, "night.csv", care), folder, jobs, expect=str(jobs))
            for name, care in (
                ("(a) with a connection each", "alone"),
                ("(a) with a connection each, asking first", "asking"),
            )
        )
        command = ("run", "--submit-only", "--concurrency", "32", "--ledger", "ledger.db", "night.yaml")
        ours = _batchgen(folder, *command, url=url, units=jobs, prepare=earlier_night)
        new = _batchgen(folder, *command, url=url, units=jobs, prepare=clear)
        ours.name, new.name = "batchgen", "batchgen, the manifest's first night"
        everybody = [plain, alone, asking, *shells.values(), cookbook, threads, ours, new]
        in_turn(everybody, repetitions)
    row.tell(*everybody, unit="jobs_per_second")
    row.goals += [Goal("jobs/s over (a), which keeps no record", ours.rate / plain.rate, 0.7, least=True)]
    row.remarks.append(
        f"over (a) with a connection each, which is {alone.rate / plain.rate:.2f}x of (a): {ours.rate / alone.rate:.2f}x"
    )
    row.remarks.append(
        f"first night, over (a) that asks first too, which is {asking.rate / plain.rate:.2f}x of (a):"
        f" {new.rate / asking.rate:.2f}x"
    )
    row.goals += [
        Goal(f"jobs/s over {one.name}", ours.rate / one.rate, 10, least=True) for one in shells.values()
    ]
    row.goals += [
        Goal("jobs/s over (c)", ours.rate / cookbook.rate, 2, least=True),
        Goal("jobs/s over (d)", ours.rate / threads.rate, 50, least=True),
    ]
    missing = {"xargs", "parallel", "curl"} - {
        tool for tool in ("xargs", "parallel", "curl") if shutil.which(tool)
    }
    row.remarks += [f"not measured: {tool} isn't installed on this machine" for tool in sorted(missing)]
    return row


# -- nights ---------------------------------------------------------------------------------------------------------


def night(folder: Path, repetitions: int) -> Row:
    """The simulation: see nights.py."""
    row = Row("the night, simulated: makespan over the lower bound, queries and refusals per task")
    one = Contender(
        "nights",
        [sys.executable, "-m", "tests.bench.nights"],
        folder,
        env={"PYTHONUNBUFFERED": "1"},
    )
    note("about a quarter of an hour")
    with open(folder / "nights.jsonl", "w+") as out:
        subprocess.run(one.command, cwd=folder, env=environment(), stdout=out, check=True)
        out.seek(0)
        rows = [json.loads(line) for line in out]
    row.figures["nights"] = rows
    for each in rows:
        name = f"{each['slots']} slots, {each['lengths']}, {'told' if each['told'] else 'learned'}" + (
            "" if each["group"] == "alone" else f", {each['group']}"
        )
        if each["goal"] is not None:
            row.goals.append(
                Goal(f"{name}: makespan over the bound", 100 * each["over_bound"], 100 * each["goal"], "%")
            )
        row.goals.append(Goal(f"{name}: queries a task", each["queries"], 12, ""))
        if not each["momentary"]:
            row.goals.append(Goal(f"{name}: refusals a task", 100 * each["refusals"], 2, "%", under=True))
    return row


# -- manifests ------------------------------------------------------------------------------------------------------


def manifests(folder: Path, repetitions: int) -> Row:
    """100,000 jobs validated and planned from YAML, from a table and from a folder; 400 the common way."""
    jobs, few = 100_000, 400
    row = Row("a manifest of 100,000 jobs, validated and planned")
    make("inline", folder / "inline.yaml", jobs, cwd=folder)
    make("inline", folder / "few.yaml", few, cwd=folder)
    make("inline", folder / "fewer.yaml", few // 4, cwd=folder)
    make("table", folder / "table.csv", jobs, cwd=folder)
    note("making 100,000 images")
    make("small_images", folder / "images", jobs, cwd=folder)
    ours = {
        kind: Contender(
            kind, [*BATCHGEN, "plan", "--ledger", "none.db", f"{file}.yaml"], folder, jobs, env=NOWHERE
        )
        for kind, file in (("inline YAML", "inline"), ("table", "table"), ("folder", "images"))
    }
    schema = ROOT / "schemas" / "image2video.schema.json"
    common = Contender(
        "(e) safe_load, validate per job", baseline("per_job", "few.yaml", schema), folder, few
    )
    shorter = Contender(
        "(e) with a quarter of the jobs", baseline("per_job", "fewer.yaml", schema), folder, few // 4
    )
    in_turn([*ours.values(), common, shorter], repetitions)
    row.tell(*ours.values(), common, shorter, unit="jobs_per_second")
    per_job = (common.seconds - shorter.seconds) / (few - few // 4)
    row.remarks.append(
        f"(e) takes {1000 * per_job:.1f} ms a job, whatever their number, so {per_job * jobs:.0f} s for {jobs:,} jobs:"
        f" measured with {few}"
    )
    inline, table, images = ours["inline YAML"], ours["table"], ours["folder"]
    row.goals += [
        Goal("inline YAML over (e)", per_job * jobs / inline.seconds, 100, least=True),
        Goal("table over inline YAML", inline.seconds / table.seconds, 10, least=True),
        Goal("folder over inline YAML", inline.seconds / images.seconds, 10, least=True),
        Goal("peak memory, inline YAML", inline.peak / MB, 300, "MB"),
        Goal("peak memory, table", table.peak / MB, 300, "MB"),
        Goal("peak memory, folder", images.peak / MB, 300, "MB"),
    ]
    return row


def nothing_to_do(folder: Path, repetitions: int) -> Row:
    """100,000 jobs that are all done: from a table, and from a folder whose images are known."""
    jobs = 100_000
    row = Row("nothing to do: 100,000 jobs, all done")
    tables, pictures, large = (folder / name for name in ("tables", "pictures", "large"))
    for place in (tables, pictures, large):  # folders of clips that lie together are looked at together
        place.mkdir()
    make("table", tables / "table.csv", jobs, cwd=tables)
    note("making two ledgers of 100,000 jobs, and 100,000 images")
    make("done", tables / "table.db", tables / "table.yaml", cwd=tables)
    make("small_images", pictures / "images", jobs, cwd=pictures)
    make("done", pictures / "images.db", pictures / "images.yaml", cwd=pictures)
    table = _batchgen(tables, "run", "--ledger", "table.db", "table.yaml", units=jobs, expect="")
    images = _batchgen(pictures, "run", "--ledger", "images.db", "images.yaml", units=jobs, expect="")
    table.name, images.name = "table", "folder of known images"
    least = Contender("csv and json", baseline("csv_json", "table.csv", "rows.jsonl"), tables, jobs)
    # The first night with a ledger looks through the clips that lie there; later ones don't.
    for night in (table, images):
        run(night.command, cwd=night.cwd, env=night.env)
    in_turn([table, images, least], repetitions)
    row.tell(table, images, least, unit="jobs_per_second")
    make("large_images", large / "large", 20, cwd=large)
    make("done", large / "large.db", large / "large.yaml", cwd=large)
    read = _bytes_read([*BATCHGEN, "run", "--ledger", "large.db", "large.yaml"], large)
    row.goals += [
        Goal("whole process over csv and json", table.seconds / least.seconds, 5),
        Goal("read where 20 images of 8 MB are known, the program included", read / MB, 16, "MB"),
    ]
    return row


def known_images(folder: Path, repetitions: int) -> Row:
    """50,000 images, a thousand in a folder, that an earlier night has read and whose clips are all there; ``validate``, too."""
    count = 50_000
    row = Row(f"{count:,} known images in folders of a thousand, all done")
    note(f"making {count:,} images, and a ledger of them")
    make("nested_images", folder / "shots", count, cwd=folder)
    make("done", folder / "ledger.db", folder / "shots.yaml", cwd=folder)
    known = _batchgen(folder, "run", "--ledger", "ledger.db", "shots.yaml", units=count, expect="")
    read = _batchgen(folder, "validate", "--quiet", "shots.yaml", units=count, expect="")
    known.name, read.name = "nothing to do", "validate, which reads each"
    rival = Contender(
        "find -printf", ["sh", "-c", r"find shots -printf '%p %s %T@ %i\n' > list"], folder, count
    )
    run(known.command, cwd=folder, env=known.env)  # looks through the clips that lie there, once
    in_turn([known, read, rival], repetitions)
    row.tell(known, read, rival, unit="images_per_second")
    row.remarks.append(f"validate, which reads and checks each: {read.seconds / rival.seconds:.0f}x")
    row.goals += [
        Goal("nothing to do: time over find -printf", known.seconds / rival.seconds, 8),
        Goal("nothing to do: memory an image, beyond 50 MB", (known.peak - 50 * MB) / count, 750, " bytes"),
    ]
    return row


def _bytes_read(command: list[str], folder: Path) -> int:
    """Bytes that a program read with system calls, told by the kernel before its remains are taken away."""
    process = subprocess.Popen(command, cwd=folder, env=environment(NOWHERE), stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    counts = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    process.wait()
    return int(counts["rchar"])


def million(folder: Path, repetitions: int) -> Row:
    """Memory of a run that creates 1,000 of 100,000, of 300,000 and of 1,000,000 jobs."""
    sizes = (100_000, 300_000, 1_000_000)
    row = Row("a million rows: memory of a run that creates 1,000 of them")
    runs = []
    with server() as url:
        for size in sizes:
            make("table", folder / f"t{size}.csv", size, cwd=folder)
            one = _batchgen(
                folder,
                "run",
                "--submit-only",
                "--max-jobs",
                "1000",
                "--ledger",
                "ledger.db",
                f"t{size}.yaml",
                url=url,
                units=size,
                prepare=_fresh(folder, "ledger.db"),
                codes=(4,),
            )
            one.name = f"{size:,} jobs"
            in_turn([one], 1 if size > 100_000 else repetitions)
            runs.append(one)
    row.tell(*runs)
    small, middle, large = (one.peak for one in runs)
    first, second = (middle - small) / (sizes[1] - sizes[0]), (large - middle) / (sizes[2] - sizes[1])
    row.figures["bytes"] = {"a_row_up_to_300,000": first, "a_row_from_there_to_1,000,000": second}
    row.remarks.append(
        f"beyond {first:.0f} bytes a row, a run takes {(small - first * sizes[0]) / MB:.0f} MB"
    )
    row.goals.append(Goal("cost of a row, from 300,000 to 1,000,000 over the first", second / first, 1.2))
    return row


def rows(folder: Path, repetitions: int) -> Row:
    """A table's rows: what one takes on the first night, and on one with nothing to do."""
    few, many = 50_000, 200_000
    row = Row(f"{many:,} rows of a table, validated; {few:,} that are all done")
    make("table", folder / "few.csv", few, cwd=folder)
    make("table", folder / "many.csv", many, cwd=folder)
    make("done", folder / "few.db", folder / "few.yaml", cwd=folder)
    least = Contender("csv.reader", baseline("csv_read", "many.csv"), folder, many, expect=str(many))
    small = _batchgen(folder, "validate", "-q", "few.yaml", units=few, expect="")
    large = _batchgen(folder, "validate", "-q", "many.yaml", units=many, expect="")
    done = _batchgen(folder, "run", "--ledger", "few.db", "few.yaml", units=few, expect="")
    small.name, large.name, done.name = f"validate, {few:,}", f"validate, {many:,}", "nothing to do"
    run(done.command, cwd=done.cwd, env=done.env)  # the first night looks through the clips that lie there
    in_turn([small, large, done, least], repetitions)
    row.tell(small, large, done, least, unit="rows_per_second")
    row.remarks.append(f"validating takes {least.rate / large.rate:.0f}x the time of csv.reader")
    row.goals += [
        Goal("memory of a validated row", (large.peak - small.peak) / (many - few), 500, "bytes"),
        Goal("time of a row that is done, over csv.reader", least.rate / done.rate, 3),
    ]
    return row


# -- downloads ------------------------------------------------------------------------------------------------------


def slow_clips(folder: Path, repetitions: int) -> Row:
    """Clips from a host that is far away and gives each connection little."""
    row = Row("64 clips of 4 MB from a host that gives a connection 2 MB/s, 50 ms away")
    return _clips(row, folder, repetitions, (64, 4_000_000, 2_000_000, 0.05), 1.1)


def small_clips(folder: Path, repetitions: int) -> Row:
    """Small clips from this machine: what each of them costs."""
    return _clips(Row("2,000 clips of 200 KB on loopback"), folder, repetitions, (2000, 200_000, 0, 0), 1.2)


def _clips(row: Row, folder: Path, repetitions: int, host: tuple[int, int, int, float], goal: float) -> Row:
    """Fetch clips whose tasks have ended; ``host``: how many, their bytes, bytes per second, seconds of delay."""
    if not shutil.which("curl"):
        row.remarks.append("not measured: curl isn't installed on this machine")
        return row
    count, size, *manner = host
    make("table", folder / "night.csv", count, cwd=folder)
    with server("clip_host", size, *manner) as url:
        make("ended", folder / "ended.db", folder / "night.yaml", url, cwd=folder)
        names = [f"shot{number:07}.mp4" for number in range(count)]
        (folder / "urls").write_text("".join(f'url = "{url}/{one}"\noutput = "got/{one}"\n' for one in names))
        clear = _fresh(folder, "got", "clips", "ledger.db")

        def one_folder() -> None:
            clear()
            (folder / "got").mkdir()

        def one_ledger() -> None:
            clear()
            shutil.copy(folder / "ended.db", folder / "ledger.db")

        fetch = "curl -sfZ --no-progress-meter --parallel-max 16 -K urls"
        shell = "curl, 16 at once, sha256sum, sync"
        command = ["sh", "-c", f"{fetch} && sha256sum got/* > sums && sync -f sums"]
        plain = Contender(shell, command, folder, count, prepare=one_folder)
        ours = _batchgen(folder, "collect", "--ledger", "ledger.db", url=url, units=count, prepare=one_ledger)
        in_turn([plain, ours], repetitions)
    row.tell(plain, ours, unit="clips_per_second")
    row.goals.append(Goal(f"time over {shell}", ours.seconds / plain.seconds, goal))
    return row


# -- small things ---------------------------------------------------------------------------------------------------


def start(folder: Path, repetitions: int) -> Row:
    """--version and --help over python -c pass."""
    row = Row("start")
    bare = Contender("python -c pass", [sys.executable, "-c", "pass"], folder)
    version = Contender("batchgen --version", [*BATCHGEN, "--version"], folder)
    usage = Contender("batchgen --help", [*BATCHGEN, "--help"], folder)
    in_turn([bare, version, usage], 4 * repetitions)
    row.tell(bare, version, usage)
    row.goals += [
        Goal("--version over python -c pass", version.seconds - bare.seconds, 0.15, "s"),
        Goal("--help over python -c pass", usage.seconds - bare.seconds, 0.15, "s"),
    ]
    return row


def history(folder: Path, repetitions: int) -> Row:
    """What a million older rows and images of a ledger cost 1,000 jobs that are all done, ``status`` and ``export``."""
    row = Row("a ledger of a million older rows and images: 1,000 jobs that are all done, status, export")
    make("table", folder / "table.csv", 1000, cwd=folder)
    make("done", folder / "small.db", folder / "table.yaml", cwd=folder)
    _batchgen(
        folder, "run", "--ledger", "small.db", "table.yaml"
    ).go()  # looks at the clips for the first time
    note("making a ledger of a million rows")
    make("grown", folder / "large.db", folder / "small.db", 1_000_000, cwd=folder)
    runs, shown = (
        {
            size: _batchgen(folder, *command, "--ledger", f"{size}.db", *manifests, expect=expect)
            for size in ("small", "large")
        }
        for command, manifests, expect in ((("run",), ("table.yaml",), ""), (("status",), (), None))
    )
    exported = _batchgen(folder, "export", "--format", "csv", "--ledger", "large.db", units=1_001_000)
    everybody = [*runs.values(), *shown.values(), exported]
    for size in ("small", "large"):
        rows = "1,000 rows" if size == "small" else "1,001,000 rows"
        runs[size].name, shown[size].name = f"nothing to do, {rows}", f"status, {rows}"
    exported.name = "export --format csv, 1,001,000 rows"
    plain = Contender(
        "sqlite3 -csv", ["sqlite3", "-csv", "large.db", "SELECT * FROM tasks"], folder, 1_001_000
    )
    if shutil.which("sqlite3"):
        everybody.append(plain)
    in_turn(everybody, repetitions)
    row.tell(*everybody)
    row.goals += [
        Goal("nothing to do: time over 1,000 rows", runs["large"].seconds / runs["small"].seconds, 1.3),
        Goal(
            "nothing to do: memory over 1,000 rows", (runs["large"].peak - runs["small"].peak) / MB, 10, "MB"
        ),
        Goal("status: 1,001,000 rows", shown["large"].seconds, 0.1, "s"),
        Goal("status: time over 1,000 rows", shown["large"].seconds / shown["small"].seconds, 1.1),
        Goal("export: memory", exported.peak / MB, 60, "MB"),
    ]
    if plain.runs:
        row.goals.append(Goal("export: time over sqlite3 -csv", exported.seconds / plain.seconds, 3))
    else:
        row.remarks.append("not measured: sqlite3 isn't installed on this machine")
    return row


def disk(folder: Path, repetitions: int) -> Row:
    """What a downloaded row takes on the disk: its row of the ledger, its history and its indexes."""
    jobs = 20_000
    row = Row(f"the ledger's file: {jobs:,} jobs that are all done")
    make("table", folder / "table.csv", jobs, cwd=folder)
    make("done", folder / "ledger.db", folder / "table.yaml", cwd=folder)
    exported = folder / "rows.jsonl"
    with exported.open("wb") as out:
        command = [*BATCHGEN, "export", "--ledger", "ledger.db"]
        subprocess.run(command, cwd=folder, env=environment(NOWHERE), stdout=out, check=True)
    sizes = {"as it was written": (folder / "ledger.db").stat().st_size / jobs}
    _batchgen(folder, "ledger", "compact", "--ledger", "ledger.db").go()
    sizes["after ledger compact"] = (folder / "ledger.db").stat().st_size / jobs
    row.figures["bytes_a_row"] = {**sizes, "as JSON Lines, without history": exported.stat().st_size / jobs}
    row.goals.append(Goal("after ledger compact", sizes["after ledger compact"], 1000, "bytes a row"))
    return row


def submitting(folder: Path, repetitions: int) -> Row:
    """``run --submit-only`` of few and of many jobs: what the tasks that run already cost those that are created."""
    few, many = 5000, 25_000
    row = Row(f"--submit-only, 32 in flight: {few:,} and {many:,} jobs")
    runs = []
    with server() as url:
        make("table", folder / "earlier.csv", 100, many, cwd=folder)
        make("done", folder / "earlier.db", folder / "earlier.yaml", url, cwd=folder)
        for jobs in (few, many):
            make("table", folder / f"t{jobs}.csv", jobs, cwd=folder)

            def earlier_night() -> None:
                _fresh(folder, "ledger.db")()
                shutil.copy(folder / "earlier.db", folder / "ledger.db")

            options = (
                "--submit-only --concurrency 32 --max-running 1000000 --poll-interval 10 --ledger ledger.db"
            )
            arguments = ["run", *options.split(), f"t{jobs}.yaml"]
            one = _batchgen(folder, *arguments, url=url, units=jobs, prepare=earlier_night)
            one.name = f"{jobs:,} jobs"
            runs.append(one)
        in_turn(runs, repetitions)
    row.tell(*runs, unit="jobs_per_second")
    small, large = runs
    later = (many - few) / (large.seconds - small.seconds)
    row.goals.append(Goal("jobs/s after the first 5,000, over theirs", later / small.rate, 0.9, least=True))
    row.goals.append(
        Goal(
            "memory of a further job, its row of the plan included",
            (large.peak - small.peak) / (many - few),
            2000,
            "bytes",
        )
    )
    return row


def ledger(folder: Path, repetitions: int) -> Row:
    """Transitions per second, each group with its fsync, and checks of budgets, from 1,000 to 1,000,000 rows."""
    row = Row("the ledger alone, 512 jobs writing at once")
    note("a ledger of a million rows: about four minutes")
    command = [sys.executable, "-m", "tests.bench.ledger_alone", str(folder), "1000000", str(repetitions)]
    done = subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.PIPE, check=True)
    rates, checks = (
        {int(size): statistics.median(each) for size, each in json.loads(done.stdout)[name].items()}
        for name in ("rates", "checks")
    )
    row.figures["transitions_per_second"] = {f"{size:,} rows": rate for size, rate in rates.items()}
    row.goals += [
        Goal("transitions per second at 1,000 rows", rates[1_000], 10_000, "/s", least=True),
        Goal("transitions per second at 1,000,000 rows", rates[1_000_000], 10_000, "/s", least=True),
        Goal("time per transition, 1,000,000 over 1,000 rows", rates[1_000] / rates[1_000_000], 1.2),
        Goal("check of the budgets, 1,000,000 over 1,000 rows", checks[1_000_000] / checks[1_000], 1.2),
    ]
    return row


def following(folder: Path, repetitions: int) -> Row:
    """CPU of a run that follows 5,000 running tasks of one to three minutes, once it has asked for all of them."""
    row = Row("following 5,000 running tasks of 60 to 180 seconds")
    make("table", folder / "table.csv", 5400, cwd=folder)
    shares, rates = [], []
    with server() as url:
        for repetition in range(repetitions):
            _fresh(folder, "ledger.db")()
            make("followed", folder / "ledger.db", folder / "table.yaml", url, 120, cwd=folder)
            share, rate = _follow(folder, url)
            shares.append(share)
            rates.append(rate)
            note(f"{repetition + 1} of {repetitions}: {share:.1%} of a core, {rate:.0f} questions a second")
    row.figures["batchgen collect"] = {
        "share_of_a_core": statistics.median(shares),
        "questions_per_second": statistics.median(rates),
        "all_shares": shares,
    }
    row.goals.append(Goal("CPU", 100 * statistics.median(shares), 5, "% of a core"))
    return row


def _follow(folder: Path, url: str) -> tuple[float, float]:
    """(share of a core, questions per second) from 15 to 35 seconds after the start.

    The first question about every task is over by then, and no task is overdue yet: the server ends none.
    """
    process = subprocess.Popen(
        [*BATCHGEN, "collect", "--ledger", "ledger.db"],
        cwd=folder,
        env=environment({**KEY, "POWERTOKENS_API_BASE": url}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(15)
        ticks, queries, began = _ticks(process.pid), count(url)["queries"], time.monotonic()
        time.sleep(20)
        passed = time.monotonic() - began
        share = (_ticks(process.pid) - ticks) / os.sysconf("SC_CLK_TCK") / passed
        return share, (count(url)["queries"] - queries) / passed
    finally:
        process.kill()
        process.wait()


def _ticks(pid: int) -> int:
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(values[11]) + int(values[12])


ROWS: dict[str, Callable[[Path, int], Row]] = {
    "server": the_server,
    "uploads": uploads,
    "prepare": prepare,
    "creates": creates,
    "night": night,
    "manifests": manifests,
    "nothing": nothing_to_do,
    "known_images": known_images,
    "rows": rows,
    "million": million,
    "history": history,
    "slow_clips": slow_clips,
    "small_clips": small_clips,
    "disk": disk,
    "submitting": submitting,
    "start": start,
    "ledger": ledger,
    "following": following,
}
