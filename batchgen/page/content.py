"""What a page from a server shows: made anew when the ledger has changed, whichever process changed it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass

from batchgen.errors import LedgerError
from batchgen.ledger import database
from batchgen.ledger.reader import Records
from batchgen.models import Record, State
from batchgen.page import pictures
from batchgen.page.data import PUBLISHED, Account, PageData, gather, iter_pictures
from batchgen.page.file import default_path, files_folder
from batchgen.page.pictures import Thumbnailer, Thumbnails
from batchgen.page.render import Files

THUMBNAILS = "thumbnails/"


@dataclass(frozen=True, slots=True)
class Shown:
    """The page's content as of one state of the ledger, which ``version`` stands for."""

    page: PageData
    files: Files
    version: object


class Content:
    """Reads a ledger for a page. All methods may be called from any thread; they wait for the disk."""

    def __init__(self, path: str, clock: Callable[[], float], account: Account = PUBLISHED) -> None:
        """``clock`` gives the time in Unix seconds. Raises LedgerError where there is no ledger at ``path``."""
        Records.read(path).close()  # brought up to date, where it is of an older version
        self.path = os.path.realpath(path)
        self.folder = files_folder(default_path(self.path))
        self._thumbnailer = Thumbnailer(self.folder)
        self._clock, self._account = clock, account
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}  # of the rows whose clips the page has, by their ids
        self._names: list[str] = []
        self._watch = database.open_to_read(self.path, None)
        self._file = self._identity()
        self._shown: Shown | None = None
        self._closed = False

    def close(self) -> None:
        """Close the ledger, once no other thread reads it. Later reads raise LedgerError."""
        with self._lock:
            self._closed = True
            self._watch.close()

    def version(self) -> object:
        """Another value whenever something was written: by a run in whatever process, a person, or a new file in its place.

        Raises LedgerError where the ledger is gone.
        """
        with self._lock:
            return self._version()

    def show(self) -> Shown:
        """The content as of now. Raises LedgerError."""
        with self._lock:
            version = self._version()
            if self._shown is None or self._shown.version != version:
                with Records.read(self.path) as records:
                    page = gather(records, self._clock(), account=self._account)
                self._shown = Shown(page, self._files(page), version)
            return self._shown

    def make_thumbnails(self) -> bool:
        """Make the thumbnails that are missing. Returns whether the page has other ones than before."""
        shown = self.show()
        try:
            made = self._thumbnailer.make_missing(iter_pictures(shown.page.takes))
        except OSError:
            return False  # the page does without
        with self._lock:
            if made == shown.files.made:
                return False
            self._shown = Shown(shown.page, shown.files._replace(made=made), shown.version)
            return True

    def clip(self, number: int) -> Record | None:
        """The row with the clip of this number, as it is now; None where it has none."""
        if not 0 <= number < len(self._names):
            return None
        with Records.read(self.path) as records:
            record = records.record(self._names[number])
        return record if record is not None and record.state is State.DOWNLOADED else None

    def has_thumbnail(self, name: str) -> bool:
        """Whether the page has a thumbnail of this file name."""
        shown = self._shown
        return shown is not None and any(
            pictures.file_name(sha256) == name for sha256 in shown.files.made.has
        )

    def _files(self, page: PageData) -> Files:
        clips = {
            take.clip: self._number(take.external_task_id)
            for take in page.takes
            if take.clip and take.external_task_id
        }
        made = self._shown.files.made if self._shown is not None else Thumbnails()
        return Files(lambda path: f"clips/{clips[path]}.mp4" if path in clips else "", THUMBNAILS, made)

    def _number(self, external_task_id: str) -> int:
        number = self._numbers.setdefault(external_task_id, len(self._names))
        if number == len(self._names):
            self._names.append(external_task_id)
        return number

    def _version(self) -> object:
        if self._closed:
            raise LedgerError(f"the ledger {self.path} is closed.")
        file = self._identity()
        if file != self._file:
            database.refuse_special(self.path)
            self._watch.close()
            self._watch = database.open_to_read(self.path, None)
            self._file = file
        try:
            return file, self._watch.execute("PRAGMA data_version").fetchone()[0]
        except sqlite3.Error as error:
            raise LedgerError(f"the ledger {self.path} can't be read: {error}.") from error

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino
