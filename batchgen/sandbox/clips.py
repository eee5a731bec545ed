"""The clips of tasks: one that stands in for all, or each encoded from its task's picture when it is first fetched."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from batchgen.sandbox import encoding, video
from batchgen.sandbox.tasks import Task

KEPT = 64  # clips that stay in memory; another one is encoded again, to the same bytes
_ENCODERS = 2  # threads


class Clips:
    """The clips of one account. With ``real`` they are encoded, which needs :func:`batchgen.sandbox.encoding.installed`."""

    def __init__(self, *, real: bool) -> None:
        self.real = real
        self._pictures: dict[str, tuple[int, int] | None] = {}  # offset and length in the file, by digest
        self._file = tempfile.TemporaryFile(prefix="batchgen-pictures-") if real else None  # noqa: SIM115, closed by close()
        self._writing = threading.Lock()
        self._encoders = ThreadPoolExecutor(_ENCODERS, "sandbox-encode")
        self._made: OrderedDict[str, asyncio.Future[bytes]] = OrderedDict()

    def close(self) -> None:
        self._encoders.shutdown(wait=False, cancel_futures=True)
        if self._file:
            self._file.close()

    def keep(self, digest: str, picture: bytes) -> None:
        """Keep a picture for its clips, small; may be called from several threads."""
        if self._file is None or digest in self._pictures:
            return
        small = encoding.shrink(picture)
        with self._writing:
            if small is None or self._file.closed:
                return
            offset = self._file.seek(0, 2)
            self._file.write(small)
            self._file.flush()
            self._pictures[digest] = offset, len(small)

    async def of(self, task: Task) -> bytes:
        """The clip of a task, as all of its files have it."""
        if not self.real:
            return video.CLIP
        if task.id in self._made:
            self._made.move_to_end(task.id)
        else:
            scene = self._scene(task)
            running = asyncio.get_running_loop().run_in_executor(self._encoders, _encoded, scene)
            self._made[task.id] = running
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        return await asyncio.shield(self._made[task.id])  # who hangs up takes it from nobody else

    def _scene(self, task: Task) -> encoding.Scene:
        fields = task.order.fields
        shots = [(int(task.seconds), str(fields.get("prompt", "")))]
        if fields.get("multi_shot") and (several := fields.get("multi_prompt")):
            several = sorted(several, key=lambda shot: int(shot["index"]))
            shots = [(int(shot["duration"]), str(shot["prompt"])) for shot in several]
        sound = ", sound" if fields.get("sound") == "on" else ""
        return encoding.Scene(
            picture=self._picture(task, "image"),
            tail=self._picture(task, "image_tail"),
            shots=shots,
            label=f"{fields.get('mode', 'std')}, {task.seconds} s{sound}",
            seed=task.external_task_id or task.id,
        )

    def _picture(self, task: Task, field: str) -> bytes | None:
        one = task.order.pictures.get(field)
        where = self._pictures.get(one.sha256) if one else None
        if where is None or self._file is None:
            return None
        with self._writing:
            self._file.seek(where[0])
            return self._file.read(where[1])


def _encoded(scene: encoding.Scene) -> bytes:
    """The scene's clip; the stand-in where the libraries can't make it (built without H.264, say)."""
    try:
        return encoding.encode(scene)
    except (ImportError, OSError, ValueError):
        return video.CLIP
