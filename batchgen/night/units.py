"""systemd's service and timer for a schedule, as text. Nothing is installed here.

A user's units have those limits that need no rights: where a machine gives users no namespaces of their own, a night with
others wouldn't start. The system's units have all of them, and may write nothing but what a run writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_COMMON = """\
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""
_SYSTEM = """\
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=read-only
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
"""


@dataclass(frozen=True, slots=True)
class Service:
    """What a service runs. Paths are absolute."""

    name: str
    words: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None  # of a unit of the system; None: one of a user's own
    writes: Sequence[str] = ()  # folders that a unit of the system may write into
    credential: tuple[str, str] | None = None  # LoadCredential or LoadCredentialEncrypted, and the file
    on_failure: str | None = None  # a unit


def service(it: Service, mark: str) -> str:
    """The service's file, which begins with ``mark``. Raises ValueError for what no unit can hold."""
    unit = [f"Description=batchgen: a night of clips ({it.name})"]
    if it.user is not None:
        unit += ["Wants=network-online.target", "After=network-online.target"]
    if it.on_failure is not None:
        unit.append(f"OnFailure={it.on_failure}")
    run = ["Type=exec", "NotifyAccess=main", "WatchdogSec=5min", "TimeoutStopSec=3min"]
    if it.user is not None:
        run.append(f"User={it.user}")
    run += [f"Environment={quoted(f'{name}={value}')}" for name, value in it.environ.items()]
    if it.credential is not None:
        run.append(f"{it.credential[0]}=powertokens_api_key:{_specifiers(it.credential[1])}")
    run.append(f"ExecStart={' '.join(quoted(word, command=True) for word in it.words)}")
    limits = _COMMON
    if it.user is not None:
        limits += _SYSTEM + "".join(f"ReadWritePaths={quoted(f'-{path}')}\n" for path in it.writes)
    text = "".join(f"{line}\n" for line in (mark, "[Unit]", *unit, "", "[Service]", *run))
    return f"{text}# Limits; they hold for what --on-finish starts, too.\n{limits}"


def timer(name: str, mark: str, at: str, delay: float) -> str:
    """The timer's file: each day at ``at`` (HH:MM) and up to ``delay`` seconds later; a night that was missed is made up for."""
    return (
        f"{mark}\n[Unit]\nDescription=batchgen: when its nights begin ({name})\n\n[Timer]\nOnCalendar=*-*-* {at}:00\n"
        f"RandomizedDelaySec={delay:.0f}s\nPersistent=true\n\n[Install]\nWantedBy=timers.target\n"
    )


def quoted(word: str, *, command: bool = False) -> str:
    """A word of a unit's line: specifiers and, in a command, variables escaped; in quotes where it has to be. Raises ValueError."""
    if any(letter < " " or letter == "\x7f" for letter in word):
        raise ValueError("a unit has no names with line breaks or other control characters")
    text = _specifiers(word.replace("\\", "\\\\").replace('"', '\\"'))
    if command:
        text = text.replace("$", "$$")
    plain = text == word and word and all(letter.isalnum() or letter in "/._-:=+@,~" for letter in word)
    return text if plain else f'"{text}"'


def _specifiers(text: str) -> str:
    return text.replace("%", "%%")
