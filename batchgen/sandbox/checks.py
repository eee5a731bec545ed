"""The create call's rules, written from the specification apart from the client's checks.

Codes: 1200 where the body as a whole is wrong (not JSON, a required field missing), 1201 where one field is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchgen.sandbox.pictures import Keep, Picture, PictureError, decode
from batchgen.sandbox.shapes import (
    Check,
    Refusal,
    array,
    choice,
    flag,
    integer,
    is_url,
    number,
    obj,
    text,
    web_address,
    wrong,
)

FRAMES = ("image", "image_tail")  # the fields with a clip's first and last frame
_REFERENCE = re.compile(r"(?<!<)<<<(element|voice|image)_([1-9][0-9]*)>>>(?!>)")
# Texts that look like a reference but aren't in the specification's format; `a << b >> c` is plain text.
_NO_REFERENCE = re.compile(
    r"<<<[^<>\n]*>>|<<[^<>\n]*>>>|<<[^\s<>;](?:[^<>\n;]*[^\s<>;])?>>|<<\s*(?:element|voice|image|video)_?[0-9]+\s*>>",
    re.IGNORECASE,
)
_LONE = re.compile(rb"\\u[dD][89a-fA-F]")
_INT, _LONG = 2**31 - 1, 2**63 - 1
_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_MOVES = ("simple", "down_back", "forward_up", "right_turn_forward", "left_turn_forward")


@dataclass(slots=True)
class Order:
    """A create call's request. ``fields`` is the request without image data (URLs stay).

    ``ignored`` names the fields that are valid but have no effect; ``failure`` is why the task will fail, where the
    specification says so; ``refusal`` is set where the request is refused.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    failure: str = ""
    refusal: Refusal | None = None

    @property
    def external_task_id(self) -> str | None:
        value = self.fields.get("external_task_id")
        return value if isinstance(value, str) and value else None


def read(body: bytes, keep: Keep | None = None) -> Order:
    """Read the request in ``body``, and give the pictures of its first and last frame to ``keep``.

    Never raises: a request that is refused has its ``refusal``.
    """
    order = Order()
    try:
        try:
            request = json.loads(body.decode(), parse_constant=_no_constant)
            if _LONE.search(body):  # half of a surrogate pair can be spelt, but is no character
                json.dumps(request, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            raise Refusal(1200, "the body is not valid JSON") from None
        if not isinstance(request, dict):
            raise Refusal(1200, "the body must be a JSON object")
        order.fields = _without_images(request)
        _check_fields(request)
        _check_conditions(request)
        order.ignored = _ignored(request)
        for where, value in images(request):
            _check_image(order, where, value, keep if where in FRAMES else None)
        _check_points(request, order.pictures.get("image"))
        order.failure = _failure(order.pictures)
    except Refusal as refusal:
        order.refusal = refusal
    return order


def images(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every image of a request whose types were checked, with the name of its field."""
    for name in ("image", "image_tail", "static_mask"):
        if request.get(name):
            yield name, request[name]
    for place, group in enumerate(request.get("dynamic_masks", ())):
        yield f"dynamic_masks[{place}].mask", group["mask"]


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are not JSON


_PIXEL = integer(0, _INT)
_POINT = obj({"x": _PIXEL, "y": _PIXEL})
_FIELDS: dict[str, Check] = {
    "model_name": choice("kling-v3"),
    "image": text(),
    "image_tail": text(),
    "multi_shot": flag,
    "shot_type": choice("customize", "intelligence"),
    "prompt": text(2500),
    "multi_prompt": array(
        obj(
            {
                "index": integer(-_INT - 1, _INT),
                "prompt": text(512),
                "duration": choice(*(str(n) for n in range(1, 16))),
            }
        ),
        1,
        6,
    ),
    "negative_prompt": text(2500),
    "element_list": array(obj({"element_id": integer(-_LONG - 1, _LONG)})),
    "voice_list": array(obj({"voice_id": text(least=1)}), 0, 2),
    "sound": choice("on", "off"),
    "cfg_scale": number(0, 1),
    "mode": choice("std", "pro", "4k"),
    "static_mask": text(),
    "dynamic_masks": array(obj({"mask": text(), "trajectories": array(_POINT, 2, 77)}), 0, 6),
    "camera_control": obj(
        {"type": choice(*_MOVES)}, {"config": obj({}, dict.fromkeys(_AXES, number(-10, 10)))}
    ),
    "duration": choice(*(str(n) for n in range(3, 16))),
    "watermark_info": obj({"enabled": flag}),
    "callback_url": web_address,
    "external_task_id": text(),
}


def _check_fields(request: Mapping[str, Any]) -> None:
    if "model_name" not in request:
        raise Refusal(1200, "model_name is required")
    for name, value in request.items():
        if name not in _FIELDS:
            raise wrong(name, "is not a known field")
        _FIELDS[name](name, value)


def _check_conditions(request: Mapping[str, Any]) -> None:
    if not request.get("image") and not request.get("image_tail"):
        raise Refusal(1200, "image or image_tail is required, both cannot be empty")
    masks = [name for name in ("dynamic_masks", "static_mask") if request.get(name)]
    exclusive = [name for name in ("image_tail", "camera_control") if request.get(name)] + masks[:1]
    if len(exclusive) > 1:
        raise wrong(" and ".join(exclusive), "are mutually exclusive")
    _check_shots(request)
    _check_voices(request)
    camera = request.get("camera_control")
    if camera and camera["type"] == "simple":
        if sum(1 for value in camera.get("config", {}).values() if value) != 1:
            raise wrong("camera_control.config", "needs exactly one value that is not 0 with type simple")
    elif camera and "config" in camera:
        raise wrong("camera_control.config", f"must be absent with type {camera['type']}")


def _check_shots(request: Mapping[str, Any]) -> None:
    if not request.get("multi_shot"):
        return
    if "shot_type" not in request:
        raise Refusal(1200, "shot_type is required when multi_shot is true")
    if "multi_prompt" not in request:
        if request["shot_type"] == "intelligence":
            return
        raise Refusal(1200, "multi_prompt is required when multi_shot is true and shot_type is customize")
    total, shots = int(request.get("duration", "5")), request["multi_prompt"]
    if len({shot["index"] for shot in shots}) < len(shots):
        raise wrong("multi_prompt", "has an index twice")
    for place, shot in enumerate(shots):
        if int(shot["duration"]) > total:
            raise wrong(f"multi_prompt[{place}].duration", f"exceeds the task's duration of {total}")
    if sum(int(shot["duration"]) for shot in shots) != total:
        raise wrong("multi_prompt", f"durations must add up to the task's duration of {total}")


def _check_voices(request: Mapping[str, Any]) -> None:
    voices, elements = request.get("voice_list", ()), request.get("element_list", ())
    if voices and elements:
        raise wrong("element_list and voice_list", "are mutually exclusive")
    if voices and request.get("sound", "off") != "on":
        raise wrong("sound", "must be on when voices are specified")
    given = {"element": len(elements), "voice": len(voices), "image": 1}
    for where, prompt in _prompts(request):
        for kind, index in _REFERENCE.findall(prompt):
            if int(index[:20]) > given[kind]:
                raise wrong(where, f"refers to <<<{kind}_{index}>>>, but there are {given[kind]} of them")
        if odd := _NO_REFERENCE.search(_REFERENCE.sub(" ", prompt)):
            raise wrong(where, f"holds {odd[0]}, which is no reference")


def _prompts(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The prompts that have an effect."""
    if not request.get("multi_shot"):
        yield "prompt", request.get("prompt", "")
    else:
        for place, shot in enumerate(request.get("multi_prompt", ())):
            yield f"multi_prompt[{place}].prompt", shot["prompt"]


def _ignored(request: Mapping[str, Any]) -> tuple[str, ...]:
    idle = ("prompt",) if request.get("multi_shot") else ("shot_type", "multi_prompt")
    return tuple(name for name in idle if name in request)


def _check_image(order: Order, where: str, value: str, keep: Keep | None) -> None:
    if is_url(value):
        return
    try:
        order.pictures[where] = decode(value, keep)
    except PictureError as error:
        raise wrong(where, str(error)) from None


def _check_points(request: Mapping[str, Any], image: Picture | None) -> None:
    for place, group in enumerate(request.get("dynamic_masks", ()) if image else ()):
        for at, point in enumerate(group["trajectories"]):
            if image and not (point["x"] < image.width and point["y"] < image.height):
                raise wrong(f"dynamic_masks[{place}].trajectories[{at}]", "is outside of the image")


def _failure(pictures: Mapping[str, Picture]) -> str:
    """Why the task will fail although it is accepted, or empty; masks given as URLs are assumed to fit."""
    masks = {where: one for where, one in pictures.items() if "mask" in where}
    if len({(mask.width, mask.height) for mask in masks.values()}) > 1:
        return "the resolution of static_mask and dynamic_masks.mask must be identical"
    image = pictures.get("image")
    for where, mask in masks.items():
        if image and not _fits(mask, image):
            return f"the aspect ratio of {where} must match the input image"
    return ""


def _fits(mask: Picture, image: Picture) -> bool:
    """Whether mask and image have the same ratio of sides; at another scale, allowing for rounding."""
    far = max(mask.width / image.width, image.width / mask.width) > 1.04
    off = abs(mask.width * image.height - mask.height * image.width)
    return off < (image.width + image.height if far else 1)


def _without_images(request: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a request for the journal, with image data replaced by its length. The request may have any shape."""

    def brief(value: Any) -> Any:
        return value if not isinstance(value, str) or is_url(value) else f"<{len(value)} characters>"

    fields = dict(request)
    for name in ("image", "image_tail", "static_mask"):
        if name in fields:
            fields[name] = brief(fields[name])
    if isinstance(groups := fields.get("dynamic_masks"), list):
        fields["dynamic_masks"] = [
            {**group, "mask": brief(group.get("mask"))} if isinstance(group, dict) else group
            for group in groups
        ]
    return fields
