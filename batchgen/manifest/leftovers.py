"""Names of folders and files that programs leave among pictures: NAS boxes, operating systems, sync tools.

Names that begin with a dot are skipped anyway, and aren't listed here.
"""

from __future__ import annotations

import re
from typing import Final

FOLDERS: Final = frozenset(
    {
        # Synology, QNAP, Asustor, TerraMaster, NetApp
        *("@eadir", "#recycle", "#snapshot", "@tmp", "@sharebin", "@recycle", "@recently-snapshot"),
        *("@synoeastream", "@synoresource", "~snapshot", "#trash"),
        # Windows
        *("$recycle.bin", "recycler", "recycled", "system volume information", "dfsrprivate"),
        # Linux, Android
        *("lost+found", "lost.dir"),
        # macOS and its archives
        *("__macosx", "network trash folder", "temporary items", "thevolumesettingsfolder"),
    }
)
FILES: Final = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "autorun.inf"}
)

_FOLDER: Final = re.compile(
    r"found\.\d{3}"  # what chkdsk rescued
    r"|.*\.(?:lrdata|lrlibrary|photoslibrary|photolibrary|aplibrary|cocatalog)",  # catalogues with their previews
)
_FILE: Final = re.compile(
    r".*\.sync-conflict-\d{8}-\d{6}.*"  # Syncthing
    r"|.*_conflict-\d{8}-\d{6}.*"  # ownCloud
    r"|.*\.conflict(?:\d+)?(?:\.\w+)?"  # Resilio
    r"|.*\((?:.*\W)?(?:conflicted copy|conflict copy|case conflict|konfliktkopie|in konflikt stehende kopie"
    r"|copie en conflit|copia en conflicto|copia in conflitto|cópia em conflito|conflicterende kopie|競合コピー)"
    r".*\).*"  # Dropbox, Nextcloud
    r"|syno(?:photo|file|index|video)_.*"  # Synology's thumbnails
    r"|~syncthing~.*|~\$.*"
    r"|.*\.(?:tmp|part|partial|filepart|crdownload|aria2|download|opdownload)",  # still on their way
)
#: What programs append to the name of a file that they are still writing.
UNFINISHED: Final = (
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".aria2",
    ".download",
    ".opdownload",
    ".tmp",
)


def is_folder(lower: str) -> bool:
    """Whether a folder of this name (lower case) is a program's leftover."""
    return lower in FOLDERS or ("." in lower and _FOLDER.fullmatch(lower) is not None)


def is_file(lower: str) -> bool:
    """Whether a file of this name (lower case) is a program's leftover."""
    if lower in FILES:
        return True
    marked = "(" in lower or "~" in lower or "conflict" in lower or lower.startswith("syno")
    return (marked or lower.endswith(UNFINISHED)) and _FILE.fullmatch(lower) is not None
