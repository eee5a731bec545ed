"""The words for a failed schema check: what is wrong, what is allowed, what was probably meant."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from batchgen.escapes import visible
from batchgen.limits import EXCERPT

_FEW = 8  # names that a message can list
# Other words that people use for keys and values, from other tools and sheets, as _plain spells them.
_SYNONYMS = {
    meant: frozenset(words.split())
    for meant, words in {
        "prompt": "text caption prompts positive positive_prompt prompt_text text_prompt description instruction motion",
        "negative_prompt": "negative negatives neg neg_prompt negative_text avoid exclude undesired",
        "image": "img picture pic photo foto file filename frame path src source input input_image start_image"
        " image_start first_frame first_image start_frame init_image image_url img_url image_path image_file url",
        "image_tail": "tail last_frame end_frame end_image image_end last_image tail_image final_frame end_image_url",
        "duration": "seconds second secs sec length time clip_length video_length clip_duration duration_s duration_sec"
        " duration_seconds duration_in_seconds",
        "sound": "audio generate_audio enable_audio with_audio audio_enabled generate_sound mute",
        "mode": "quality resolution definition tier",
        "model_name": "model model_id model_version engine",
        "cfg_scale": "cfg guidance guidance_scale creativity relevance",
        "camera_control": "camera camera_motion camera_move camera_movement motion_control",
        "multi_prompt": "shots shot storyboard scenes prompts_list",
        "multi_shot": "multishots multiple_shots",
        "element_list": "element elements subject subjects character characters kling_elements",
        "voice_list": "voice voices voice_ids speaker speakers",
        "static_mask": "mask still_mask",
        "dynamic_masks": "masks motion_brush motion_mask motion_masks brush",
        "watermark_info": "watermark logo",
        "callback_url": "callback webhook webhook_url notify_url hook",
        "external_task_id": "task_id external_id custom_id client_id request_id",
        "id": "key title job job_id job_name no nr number",
        "take": "variant version_number variation repeat",
        "prepare": "convert resize preprocess preprocessing prep autofix fix_image image_prepare",
        "folder": "dir directory folders input_dir input_folder image_folder images",
        "match": "glob pattern files filter include",
        "table": "csv sheet spreadsheet rows tsv jsonl excel xlsx",
        "output_dir": "output out outdir out_dir output_folder output_path destination dest target clips",
        "concurrency": "parallel workers threads parallelism concurrent",
        "downloads": "max_downloads download_concurrency parallel_downloads",
        "max_running": "slots max_slots max_parallel max_tasks running limit",
        "max_cost_usd": "budget max_cost cost_limit max_usd max_price cost",
        "defaults": "common shared settings global",
        "jobs": "tasks items entries list job",
        "index": "no nr number n order shot position",
        "element_id": "id element",
        "voice_id": "id voice name",
        "trajectories": "trajectory path points",
        "enabled": "enable on active",
        "type": "kind move movement",
        "pan": "pitch",
        "tilt": "yaw",
        "zoom": "focal_length dolly",
        "pro": "1080p 1080 fullhd full_hd fhd professional high",
        "std": "720p 720 standard normal low",
        "4k": "2160p 2160 uhd ultra",
        "intelligence": "auto automatic ai intelligent smart",
        "customize": "custom customise manual",
    }.items()
}
_KINDS = {
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "array": "a list",
    "object": "a set of keys and values (key: value)",
}


def shown(value: Any) -> str:
    """A value as people would type it, on one line, cut at ``EXCERPT`` characters."""
    match value:
        case str():
            quoted = json.dumps(value[:EXCERPT], ensure_ascii=False)
            quoted = visible(quoted)
            return quoted if len(value) <= EXCERPT else f"{quoted[:-1]}..."
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() > 4 * EXCERPT:  # Python refuses to print it
            return "a number this large"
        case int() | float():
            return str(value)
        case None:
            return "nothing"
        case Mapping():
            return "a set of keys and values"
        case _ if isinstance(value, Sequence):
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def bad_value(error: Any) -> str:
    """Describe what is wrong with a single value; ``error`` is a ``jsonschema.ValidationError``."""
    value, limit, schema = error.instance, error.validator_value, error.schema
    if value is None:
        return "is empty; give it a value or leave the key out"
    match error.validator:
        case "type":
            return _wrong_kind(value, [limit] if isinstance(limit, str) else limit)
        case "oneOf" if limit[0].get("type") == "boolean":
            keys = ", ".join(limit[1]["properties"])
            return f"{shown(value)} is neither true nor false, nor a set of keys and values ({keys})"
        case "enum" | "const":
            return _not_one_of(value, limit if error.validator == "enum" else [limit])
        case "pattern":
            return f"{shown(value)} {schema['$comment']}"
        case "minLength":
            return "is empty; give it a value or leave the key out"
        case "maxLength":
            return f"has {len(value)} characters; at most {limit} are allowed"
        case "minItems" | "maxItems":
            entries = f"has {len(value)} {'entry' if len(value) == 1 else 'entries'}" if value else "is empty"
            if error.validator == "maxItems":
                return f"{entries}; at most {limit} are allowed"
            return f"{entries}; at least {limit} {'entry is' if limit == 1 else 'are'} needed"
        case "minimum" | "maximum" if "minimum" in schema and "maximum" in schema:
            return f"{shown(value)} is not between {schema['minimum']} and {schema['maximum']}"
        case "minimum":
            return f"{shown(value)} is too small; it must be at least {limit}"
        case "exclusiveMinimum":
            return f"{shown(value)} is too small; it must be more than {limit}"
        case _:
            return f"{shown(value)} is not allowed here"


def missing_keys(keys: Sequence[str], properties: Mapping[str, Any]) -> str:
    """Describe ``keys`` that are missing from an object with these ``properties``."""
    names = " and ".join(f'"{key}"' for key in keys)
    example = next(iter(properties[keys[0]].get("examples", ())), None)
    if len(keys) > 1 or not isinstance(example, str | int):
        return f"{names} {'is' if len(keys) == 1 else 'are'} missing"
    typed = example if isinstance(example, str) else shown(example)
    return f"{names} is missing, for example {keys[0]}: {typed}"


def unknown_key(key: Any, allowed: Sequence[str], kind: str, elsewhere: Collection[str]) -> tuple[str, str]:
    """Describe an unknown key: returns the known key that was probably meant (or ""), and the text.

    ``kind`` is that of :func:`batchgen.request.schema.check_entry`; ``elsewhere`` are keys that belong in other places.
    """
    if key in elsewhere:
        return "", f"{shown(key)} {_belongs(kind, key)}"
    if meant := _nearest(key, allowed):
        return meant, f"unknown key {shown(key)}; did you mean {shown(meant)}?"
    if meant := _synonym(key, elsewhere):
        return "", f"unknown key {shown(key)}; did you mean {shown(meant)}? That {_belongs(kind, meant)}"
    if len(allowed) <= _FEW:
        return "", f"unknown key {shown(key)}; allowed: {', '.join(allowed)}"
    return "", f"unknown key {shown(key)}"


def _belongs(kind: str, key: str) -> str:
    match kind, key:
        case "manifest", "id" | "external_task_id" | "folder" | "match" | "table" | "allow" | "allow_fields":
            return "belongs in an entry of jobs"
        case "manifest", _:
            return "belongs in defaults or in an entry of jobs"
        case _, "id" | "external_task_id":
            return "names a single job; it can't hold for several"
        case _, "image":
            return "can't be given here: the images are those of the folder"
        case "folder", "table":
            return "can't stand beside folder; make two entries of them"
        case "inline" | "table", "match":
            return "goes with folder"
        case "inline", "allow" | "allow_fields":
            return "goes with folder or table: this job is the manifest's own"
        case _, "folder" | "match" | "table" | "allow" | "allow_fields":
            return "belongs in an entry of jobs"
        case _:
            return "belongs at the top of the manifest"


def _nearest(word: Any, allowed: Sequence[str]) -> str:
    """Which of the ``allowed`` words was probably meant, or ""."""
    from difflib import get_close_matches

    if not isinstance(word, str) or len(word) > EXCERPT:
        return ""
    near = get_close_matches(_plain(word), allowed, n=1)
    if near and _plain(word) == near[0]:
        return near[0]
    return _synonym(word, allowed) or next(iter(near), "")


def _synonym(word: Any, known: Collection[str]) -> str:
    if not isinstance(word, str) or len(word) > EXCERPT:
        return ""
    return next((meant for meant, words in _SYNONYMS.items() if meant in known and _plain(word) in words), "")


def _plain(word: str) -> str:
    """A word in lower case, with one _ for every run of other characters: ``Duration (s)`` becomes ``duration_s``."""
    return re.sub(r"[\W_]+", "_", word.lower()).strip("_")


def _wrong_kind(value: Any, kinds: Sequence[str]) -> str:
    kind = kinds[0]
    if len(kinds) > 1:
        return f"{shown(value)} is neither {' nor '.join(_KINDS[one] for one in kinds)}"
    if kind == "string" and isinstance(value, str):
        return f"{shown(value)} holds half a character (a lone surrogate); save the text as UTF-8"
    text = f"{shown(value)} is not {_KINDS[kind]}"
    if kind == "string" and isinstance(value, int | float):
        return f"{text}; put it in quotes"
    if kind in ("array", "object") and isinstance(value, str) and value.lstrip().startswith(("[", "{")):
        return f"{text}, nor is it JSON"
    return text


def _not_one_of(value: Any, allowed: Sequence[Any]) -> str:
    if len(allowed) == 1:
        return f"{shown(value)} is not allowed; it must be {allowed[0]}"
    if len(allowed) > _FEW:  # the durations: seconds without a gap
        return f"{shown(value)} is not one of {allowed[0]} ... {allowed[-1]}"
    meant = _nearest(value, allowed)
    hint = f"; did you mean {shown(meant)}?" if meant else ""
    return f"{shown(value)} is not one of {', '.join(allowed)}{hint}"
