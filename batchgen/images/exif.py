"""Reads of EXIF data the one thing besides the orientation that decides how pixels look: their colour space."""

from __future__ import annotations

from typing import Final, Literal

_EXIF, _COLOUR_SPACE, _INTEROPERABILITY, _INDEX = 0x8769, 0xA001, 0xA005, 0x0001  # tags
_ADOBE: Final = 2  # as some cameras write it; by the standard it is "uncalibrated", and the index says R03
_UNCALIBRATED: Final = 0xFFFF
_MOST_TAGS: Final = 500  # of a list


def is_adobe_rgb(exif: bytes) -> bool:
    """Whether EXIF data say that the colours are Adobe RGB's, as cameras do that embed no profile."""
    if exif[:4] not in (b"II*\0", b"MM\0*"):
        return False
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def value(list_at: int | None, tag: int) -> bytes | None:
        """The four bytes of a tag's value, or of the place where it is; None where the list doesn't have it."""
        if not list_at:
            return None
        count = min(int.from_bytes(exif[list_at : list_at + 2], order), _MOST_TAGS)
        for at in range(list_at + 2, list_at + 2 + 12 * count, 12):
            if int.from_bytes(exif[at : at + 2], order) == tag:
                return exif[at + 8 : at + 12]
        return None

    def place(of: bytes | None) -> int | None:
        return None if of is None else int.from_bytes(of, order)

    details = place(value(place(exif[4:8]), _EXIF))
    space = int.from_bytes((value(details, _COLOUR_SPACE) or b"")[:2], order)
    if space == _ADOBE:
        return True
    index = value(place(value(details, _INTEROPERABILITY)), _INDEX)
    return space == _UNCALIBRATED and (index or b"").startswith(b"R03")
