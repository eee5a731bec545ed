"""The rules about one request that JSON Schema can't express: sums, references, addresses and pixels.

Everything here is pure. A rule says nothing where a value isn't what the schema asks for, so that one mistake makes one
finding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from batchgen.models import ImageFile
from batchgen.request import references, urls
from batchgen.request.image_fields import image_values, is_url
from batchgen.request.messages import shown
from batchgen.request.schema import Finding, Path, load

# Characters that nobody types: control characters, except tabs and line breaks (Word's and PDFs' too), and overrides of
# direction, which show a text in another order than it is sent. Other invisible characters are part of some script.
_UNTYPED = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f\u202d\u202e]")
_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\u2028\u2029]")
_CUT_NUMBER = re.compile(r"[0-9][.,]?[0-9]*[eE]\+?[0-9]+")
_QUARTERS = 5  # EXIF's orientations from 5 on turn by a quarter
_MOST_ELEMENTS = 3  # by the platform's own pages


def check(request: Mapping[str, Any]) -> list[Finding]:
    """What is wrong with the shots, the references and the addresses of ``request``; images are not opened."""
    if (
        references.has_none(request) and "multi_prompt" not in request and "callback_url" not in request
    ):  # nearly every request, so asked first
        plain = _is_plain(request.get("prompt", ""))
        if plain and "negative_prompt" in request:
            plain = _is_plain(request["negative_prompt"])
        return [] if plain else [*_untyped(request)]
    found = [*_untyped(request), *references.check(request)]
    if "multi_prompt" in request:
        found = [*_shots(request), *found]
    url = request.get("callback_url")
    if isinstance(url, str) and is_url(url) and (words := urls.problem(url)):
        found.append(Finding(("callback_url",), words))
    return found


def warnings(request: Mapping[str, Any]) -> list[Finding]:
    """What may be a mistake in a request without problems; images from files are :class:`ImageFile`."""
    found: list[Finding] = []  # and nearly always it stays empty, so each check is quick
    if request.get("multi_shot") is True:
        found += _doubts_about_shots(request)
    elif is_blank(request.get("prompt", "")):
        found.append(Finding((), "no prompt: the clip is paid, and the model decides what happens in it"))
    if "element_list" in request or "voice_list" in request or "negative_prompt" in request:
        found += _doubts_about_lists(request)
        found += references.warnings(request)
    for path, value in image_values(request):
        if isinstance(value, str) and is_url(value) and (words := urls.warning(value)):
            found.append(Finding(path, words))
    if "callback_url" in request and (words := urls.unreachable(request["callback_url"])):
        found.append(Finding(("callback_url",), words))
    return found


def _is_plain(text: Any) -> bool:
    return isinstance(text, str) and text.isprintable()


def _untyped(request: Mapping[str, Any]) -> Iterator[Finding]:
    """The first character in each of the request's texts that nobody types."""
    texts: list[tuple[Path, Any]] = [((name,), request.get(name)) for name in ("prompt", "negative_prompt")]
    for name, key in (("multi_prompt", "prompt"), ("voice_list", "voice_id")):
        entries = enumerate(_entries(request.get(name)))
        texts += [((name, number, key), entry.get(key)) for number, entry in entries]
    for path, text in texts:
        if path[0] == "multi_prompt" and isinstance(text, str) and is_blank(text):
            continue  # _shots reports it
        if isinstance(text, str) and (found := _UNTYPED.search(text)):
            lines = _LINE_END.split(text[: found.start()])
            where = f"character {len(lines[-1]) + 1}" + (
                f" of its line {len(lines)}" if len(lines) > 1 else ""
            )
            yield Finding(
                path,
                f"holds the character U+{ord(found[0]):04X} at {where}, which nobody types; take it out, or,"
                " where the clip is paid for, keep it by `skip: true`",
            )


def is_blank(text: str) -> bool:
    """Whether a text has nothing visible: only spaces of all kinds, zero-width and control characters."""
    text = text.strip()
    return not text or not (text.isprintable() or any(c.isprintable() and not c.isspace() for c in text))


def _doubts_about_lists(request: Mapping[str, Any]) -> Iterator[Finding]:
    if len(request.get("element_list", ())) > _MOST_ELEMENTS:
        text = f"more than {_MOST_ELEMENTS} elements: the platform's own pages allow no more, the specification names no limit"
        yield Finding(("element_list",), text)
    for number, voice in enumerate(request.get("voice_list", ())):
        if _CUT_NUMBER.fullmatch(voice["voice_id"]):
            text = f"{shown(voice['voice_id'])} looks like an id that a spreadsheet has cut; write it as text"
            yield Finding(("voice_list", number, "voice_id"), text)


def _doubts_about_shots(request: Mapping[str, Any]) -> Iterator[Finding]:
    """Requests with several shots about which the specification and the platform's own pages differ."""
    if request.get("shot_type") == "intelligence":
        given = not is_blank(request.get("prompt", ""))
        text = (
            "the specification says that prompt has no effect with multi_shot: true, the platform's own pages that"
            f" shot_type: intelligence needs it. {'With one' if given else 'Without one'}, the paid clip may be of"
            f" {'something else' if given else 'nothing that was asked for'}; customize with multi_prompt is certain"
        )
        yield Finding(("prompt",) if given else ("shot_type",), text)
    if "image_tail" in request:
        text = "the platform's own pages don't allow image_tail with multi_shot: true, the specification does"
        yield Finding(("image_tail",), text)


def has_masks(request: Mapping[str, Any]) -> bool:
    """Whether :func:`check_images` has anything to check."""
    return "static_mask" in request or "dynamic_masks" in request


def check_images(request: Mapping[str, Any]) -> list[Finding]:
    """Masks and points that don't fit the image. Only an :class:`ImageFile` has a known size: URLs aren't checked."""
    if not has_masks(request):
        return []
    image = request.get("image")
    return [*_masks(request, image), *_trajectories(request, image)]


def _shots(request: Mapping[str, Any]) -> Iterator[Finding]:
    if request.get("multi_shot") is not True:
        return  # the shots have no effect, which the schema reports
    shots = _entries(request.get("multi_prompt"))
    total = _seconds(request.get("duration", load("request")["properties"]["duration"]["default"]))
    lengths = [_seconds(shot.get("duration")) for shot in shots]
    numbers: dict[float, int] = {}
    for position, shot in enumerate(shots):
        index = shot.get("index")
        first = numbers.setdefault(index, position) if isinstance(index, int | float) else position
        if first != position:
            text = f"{shown(index)} is the index of shot {first + 1} already; each shot needs its own"
            yield Finding(("multi_prompt", position, "index"), text)
        prompt = shot.get("prompt")
        if isinstance(prompt, str) and is_blank(prompt):
            text = "the shot's text is empty; say what happens in it, or take the shot out"
            yield Finding(("multi_prompt", position, "prompt"), text)
    if total is None or not lengths or None in lengths:
        return
    too_long = [position for position, length in enumerate(lengths) if length is not None and length > total]
    for position in too_long:
        text = f"the shot takes {lengths[position]} seconds, longer than the whole clip, which takes {total}"
        yield Finding(("multi_prompt", position, "duration"), text)
    whole = sum(filter(None, lengths))
    if whole != total and not too_long:
        text = (
            f"the shots take {whole} seconds in all, but the clip takes {total} (duration); make them equal"
        )
        yield Finding(("multi_prompt",), text)


def _masks(request: Mapping[str, Any], image: Any) -> Iterator[Finding]:
    first: ImageFile | None = None
    for path, mask in _mask_values(request):
        if not isinstance(mask, ImageFile):
            continue
        size = f"{mask.width} x {mask.height} pixels"
        if isinstance(image, ImageFile) and not _same_ratio(_size(mask), _size(image)):
            text = (
                f"the mask has {size}, the image {image.width} x {image.height}; their ratio must be the same"
            )
            turned = _same_ratio(_size(mask), (image.height, image.width))
            yield Finding(path, text + (_turning(image) if turned else ""))
        elif first and _size(mask) != _size(first):
            text = f"the mask has {size}, another one {first.width} x {first.height}; all masks must be of one size"
            yield Finding(path, text)
        first = first or mask


def _mask_values(request: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    yield ("static_mask",), request.get("static_mask")
    for number, entry in enumerate(_entries(request.get("dynamic_masks"))):
        yield ("dynamic_masks", number, "mask"), entry.get("mask")


def _turning(image: ImageFile) -> str:
    """The end of a message where masks or points would fit the image turned by a quarter, as its EXIF may show it."""
    if image.orientation >= _QUARTERS:
        return ". The photo's EXIF turns it by a quarter, but they count in the picture as it is stored: save it turned"
    return ". Turned by a quarter it would fit"


def _size(image: ImageFile) -> tuple[int, int]:
    return image.width, image.height


def _same_ratio(mask: tuple[int, int], image: tuple[int, int]) -> bool:
    """Whether ``mask`` can be ``image`` at another scale, both sides rounded down, up or to the nearest pixel.

    A mask within 5 % of its image's size must have exactly the same ratio: nobody scales by so little, so it was cut or
    drawn wrong.
    """
    (wide, high), (width, height) = mask, image
    if all(abs(a - b) * 20 <= b for a, b in zip(mask, image, strict=True)):
        return wide * height == high * width
    for low, up in ((-1, 1), (0, 2), (-2, 0)):  # how far rounding may have moved a side, in half pixels
        least = max((2 * wide + low) * height, (2 * high + low) * width)
        most = min((2 * wide + up) * height, (2 * high + up) * width)
        if least < most or (
            least == most and low == -1
        ):  # the scale, times both sides of the image, lies between
            return True
    return False


def _trajectories(request: Mapping[str, Any], image: Any) -> Iterator[Finding]:
    """Points outside of the image; one finding for each trajectory, since all its points may have the same mistake."""
    if not isinstance(image, ImageFile):
        return
    for number, entry in enumerate(_entries(request.get("dynamic_masks"))):
        for position, point in enumerate(_entries(entry.get("trajectories"))):
            x, y = point.get("x"), point.get("y")
            if not isinstance(x, int | float) or not isinstance(y, int | float):
                continue
            if not (0 <= x < image.width and 0 <= y < image.height):
                text = f"the point ({shown(x)}, {shown(y)}) is outside the image, which has {image.width} x {image.height} pixels"
                turned = image.orientation >= _QUARTERS and 0 <= x < image.height and 0 <= y < image.width
                path = ("dynamic_masks", number, "trajectories", position)
                yield Finding(path, text + (_turning(image) if turned else ""))
                break


def _entries(value: Any) -> list[Mapping[str, Any]]:
    """The objects of a list; none of them where anything else stands in it."""
    if isinstance(value, list) and all(isinstance(entry, Mapping) for entry in value):
        return value
    return []


def _seconds(value: Any) -> int | None:
    return int(value) if isinstance(value, str) and re.fullmatch("[1-9][0-9]?", value) else None
