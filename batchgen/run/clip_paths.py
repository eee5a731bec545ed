"""The paths that clips belong at: ``OUTPUT_DIR/NAME/ID.mp4``, ``ID.take2.mp4``, ``ID.part2.mp4``, ``superseded/ID.mp4``. Pure."""

from __future__ import annotations

import os

from batchgen.models import Job

SUPERSEDED = "superseded"  # the folder beside the clips for clips that were replaced


def output_path(job: Job) -> str:
    """The path that a job's clip belongs at, unless another clip is there."""
    return clip_path(job.output_dir, *job.key)


def clip_path(output_dir: str, manifest: str, job_id: str, take: int) -> str:
    """The path of a job's clip below ``output_dir``, with its plain name."""
    return os.path.join(output_dir, manifest, clip_name(job_id, take))


def clip_name(job_id: str, take: int) -> str:
    """The plain name of a job's clip; its id may have folders in it."""
    return f"{job_id}.mp4" if take == 1 else f"{job_id}.take{take}.mp4"


def superseded_path(path: str) -> str:
    """The path for a clip whose plain name another clip of its job takes."""
    folder, name = os.path.split(path)
    return os.path.join(folder, SUPERSEDED, name)


def part_path(path: str, part: str) -> str:
    """The path for a further file of the clip at ``path``: ``ID.part2.mp4`` beside ``ID.mp4``."""
    stem, suffix = os.path.splitext(path)
    return f"{stem}.{part}{suffix}" if part else path
