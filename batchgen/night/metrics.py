"""Writes how runs went as metrics into a file, as Prometheus' node exporter reads them (its textfile collector).

What a run says nothing of keeps its values from the file: when the last one succeeded, and other manifests.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from batchgen import files
from batchgen.night.summary import Summary

if TYPE_CHECKING:
    from prometheus_client.metrics_core import GaugeMetricFamily

LARGEST: Final = 4 << 20  # bytes of a file that is read again
MISSING: Final = "metrics need the package prometheus_client: install batchgen[metrics]"

#: Metric -> what it is. Those of manifests have the label ``manifest``, the others ``command``.
HELP: Final = {
    "batchgen_last_run_timestamp_seconds": "When the last run ended",
    "batchgen_last_success_timestamp_seconds": "When the last run ended that ended with exit code 0",
    "batchgen_last_run_exit_code": "The exit code of the last run",
    "batchgen_last_run_duration_seconds": "How long the last run took",
    "batchgen_last_run_jobs": "The jobs of the last run, by where they ended",
    "batchgen_last_run_created_tasks": "The tasks that the last run created, or may have",
    "batchgen_last_run_failed_tasks": "The tasks that failed in the last run",
    "batchgen_last_run_cost_usd_estimate": "What the last run's tasks cost, estimated, in US dollars",
    "batchgen_last_run_slots_used": "The tasks that ran at once in the last run, at most",
    "batchgen_manifest_last_run_timestamp_seconds": "When the last run of a manifest ended",
    "batchgen_manifest_last_success_timestamp_seconds": "When the last run ended that left nothing of a manifest to be done",
    "batchgen_manifest_jobs": "The jobs of a manifest, by where they ended in its last run",
    "batchgen_manifest_created_tasks": "The tasks that a manifest's last run created, or may have",
    "batchgen_manifest_failed_tasks": "The tasks of a manifest that failed in its last run",
    "batchgen_manifest_cost_usd_estimate": "What these tasks of a manifest cost, estimated, in US dollars",
}
_SURVIVE: Final = frozenset(
    {"batchgen_last_success_timestamp_seconds", "batchgen_manifest_last_success_timestamp_seconds"}
)
_DONE: Final = frozenset({"downloaded", "abandoned", "waiting"})

Labels = tuple[tuple[str, str], ...]
Values = dict[tuple[str, Labels], float]


def available() -> bool:
    """Whether prometheus_client is installed."""
    return importlib.util.find_spec("prometheus_client") is not None


def write(path: str, summary: Summary | None) -> None:
    """Bring the file up to date: another takes its place, as a whole. Without a summary, it keeps all values. Raises OSError."""
    from prometheus_client import CollectorRegistry, write_to_textfile

    registry = CollectorRegistry(auto_describe=False)
    before = read(path)
    registry.register(_Values(before if summary is None else updated(before, summary)))
    write_to_textfile(path, registry)


def read(path: str) -> Values:
    """The values of the file; none where there is no file, or something else in its place."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        with open(path, "rb", opener=files.open_regular) as file:
            text = file.read(LARGEST).decode("utf-8", "replace")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in HELP and sample.labels.keys() == _labels(sample.name)
        }
    except (OSError, ValueError):
        return {}


def _labels(name: str) -> set[str]:
    """The labels that a metric has."""
    about = "manifest" if name.startswith("batchgen_manifest_") else "command"
    return {about, "bucket"} if name.endswith("_jobs") else {about}


def updated(before: Values, summary: Summary) -> Values:
    """The values after a run: its own, and those from before that it says nothing of."""
    own = dict(_of_run(summary))
    for manifest in summary.manifests:
        own |= dict(_of_manifest(manifest, summary))
    replaced = {("command", summary.command), *(("manifest", name) for name in summary.manifests)}
    kept = {
        (name, labels): value
        for (name, labels), value in before.items()
        if name in _SURVIVE or not replaced.intersection(labels)
    }
    return kept | own


def _of_run(summary: Summary) -> Iterator[tuple[tuple[str, Labels], float]]:
    command, document = ("command", summary.command), summary.document
    values = {
        "run_timestamp_seconds": summary.ended,
        "run_exit_code": summary.exit_code,
        "run_duration_seconds": summary.ended - summary.began,
        "run_created_tasks": document.get("created", 0),
        "run_failed_tasks": document.get("failed_tasks", 0),
        "run_cost_usd_estimate": document.get("cost_usd_estimate", 0.0),
        "run_slots_used": summary.slots,
    }
    if summary.exit_code == 0:
        values["success_timestamp_seconds"] = summary.ended
    for name, value in values.items():
        yield (f"batchgen_last_{name}", (command,)), value
    for bucket, count in document.get("buckets", {}).items():
        yield ("batchgen_last_run_jobs", (("bucket", bucket), command)), count


def _of_manifest(manifest: str, summary: Summary) -> Iterator[tuple[tuple[str, Labels], float]]:
    label, part = ("manifest", manifest), summary.manifests[manifest]
    values = {
        "last_run_timestamp_seconds": summary.ended,
        "created_tasks": part.created,
        "failed_tasks": part.failed_tasks,
        "cost_usd_estimate": part.cost_usd,
    }
    left = {bucket for bucket, count in part.jobs.items() if count} - _DONE
    if not left or (left == {"submitted"} and summary.exit_code == 0):  # --submit-only
        values["last_success_timestamp_seconds"] = summary.ended
    for name, value in values.items():
        yield (f"batchgen_manifest_{name}", (label,)), value
    for bucket, count in part.jobs.items():
        yield ("batchgen_manifest_jobs", (("bucket", bucket), label)), count


class _Values:
    """Hands the values to the library, as its collectors do."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> Iterable[GaugeMetricFamily]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for name, text in HELP.items():
            found = sorted(one for one in self._values.items() if one[0][0] == name)
            if found:
                family = GaugeMetricFamily(name, text, labels=[label for label, _ in found[0][0][1]])
                for (_, labels), value in found:
                    family.add_metric([one for _, one in labels], value)
                yield family
