"""Estimates what a clip costs, from the vendor's price table and the date it was read. The bill is authoritative."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchgen.request.schema import defaults

READ_ON = "2026-10-05"

# Thousandths of a US dollar per second of kling-v3 video, by (sound, mode). Whole numbers, so that sums are exact.
MILLS_PER_SECOND = {
    ("off", "std"): 84,
    ("off", "pro"): 112,
    ("off", "4k"): 420,
    ("on", "std"): 126,
    ("on", "pro"): 168,
    ("on", "4k"): 420,
}


def cost_mills(request: Mapping[str, Any]) -> int:
    """The estimate for a checked request in mills (thousandths of a US dollar): whole numbers, so sums are exact."""
    fields = {**defaults(), **request}
    return MILLS_PER_SECOND[fields["sound"], fields["mode"]] * int(fields["duration"])


def cost_usd(request: Mapping[str, Any]) -> float:
    """The estimate for a checked request in US dollars, not rounded to cents."""
    return cost_mills(request) / 1000


def is_floor(request: Mapping[str, Any]) -> bool:
    """Whether the estimate is only a lower bound: the price of a clip with a specified voice isn't published.

    A voice counts as specified where ``voice_list`` isn't empty and a prompt refers to a voice.
    """
    shots = request.get("multi_prompt", ())
    prompts = (request.get("prompt", ""), *(shot.get("prompt", "") for shot in shots))
    return bool(request.get("voice_list")) and any("<<<voice_" in prompt for prompt in prompts)
