"""What one manifest comes to while it is read: its jobs, each under its id, and all that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from batchgen import limits
from batchgen.manifest import folders, warnings
from batchgen.manifest.builder import BuildResult
from batchgen.manifest.listing import MORE, STRICT, Listing, and_more, bounded
from batchgen.manifest.locations import Document, Inline, Origin, subject
from batchgen.models import ImageFile, Job, Manifest, Place, Problem, UnusableJob
from batchgen.request.image_fields import image_values
from batchgen.request.schema import Finding

_Key = str | tuple[str, int]  # an id alone is that of take 1: there may be a million


class Collected:
    """One manifest's jobs, problems and warnings so far; ``file`` is as the user named it."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.document: Document  # once it was read
        self.manifest = Manifest(file, "")
        self.problems = Listing()
        self.warnings = Listing()
        self.places: dict[_Key, Inline | Place | Job] = {}  # where each id and take was first
        self.found: list[tuple[Inline, folders.Found]] = []  # what else lies in the folders of entries
        self.empty: list[str] = []  # why entries make no job

    def all_problems(self) -> list[Problem]:
        if not self.problems:
            return []
        found = [*self.problems, *(job.problem for job in self.manifest.unusable)]
        files = {self.file: 0}
        for problem in found:
            files.setdefault(problem.place.file, len(files))
        found.sort(key=lambda p: (files[p.place.file], p.place.line, p.place.column))
        return [*found, Problem(Place(self.file), "", MORE)] if self.problems.is_full else found

    def all_warnings(self) -> list[Problem]:
        """The first warnings, and one with the number of the others."""
        if not self.warnings.is_full:
            return [*self.warnings]
        text = f"has {self.warnings.more:,} more warnings than the {limits.PROBLEMS:,} that are listed"
        return [*self.warnings, Problem(Place(self.file), "", text)]

    def refuse_warned(self) -> None:
        """Make the warnings problems, which refuse the manifest."""
        list.extend(self.problems, [one._replace(text=f"{one.text} {STRICT}") for one in self.all_warnings()])

    def give_up(self, why: str) -> None:
        """Drop the manifest with the problem ``why``: after an unforeseen error nothing of it is certain."""
        self.manifest = Manifest(self.file, self.manifest.name)
        self.problems.insert(0, Problem(Place(self.file), "", why))
        self.found.clear()

    def report(self, path: Sequence[str | int], text: str) -> None:
        self.problems.append(Problem(self.document.place(path), subject("", None, path), text))

    def keep(self, made: BuildResult, origin: Origin, evidence: str) -> BuildResult:
        """Keep one take of a job, or the reason why it can't run: ``evidence`` is of its images. Returns it with what was found."""
        if made.id is not None:
            key = _key(made.id, made.take)
            if key in self.places:
                take = f" (take {made.take})" if made.take != 1 else ""
                where = self.where(made.id, made.take)
                text = f'"{made.id}"{take} is the id of {where} already; give one of them another'
                if not made.id.isascii():
                    text += " (how accents are spelt makes no other id)"
                return made._replace(findings=[*made.findings, Finding(("id",), text)])
            self.places[key] = origin if isinstance(origin, Inline) else made.job or origin.place
        if made.job is not None:
            self.manifest.jobs.append(made.job)
        elif made.skipped:
            self.manifest.skipped.append((self.manifest.name, made.id or "", made.take))
        elif made.failures:
            path, text = made.failures[0]
            if len(made.failures) > 1:
                text = "; ".join(f"{subject('', None, path)}: {text}" for path, text in made.failures)
                path = ()
            problem = origin.problem(made.id, path, text)
            bad = UnusableJob(self.manifest.name, made.id or "", made.take, problem, evidence)
            self._set_aside(bad, waits=made.waits)
        return made

    def _set_aside(self, bad: UnusableJob, *, waits: bool) -> None:
        if waits:
            text = f"{bad.problem.text}; somebody seems to be writing it still"
            bad = bad._replace(problem=bad.problem._replace(text=text), waits=True)
        self.manifest.unusable.append(bad._replace(problem=bounded(bad.problem)))

    def make_unusable(self, changed: Collection[str]) -> None:
        """Make the jobs unusable whose images were changed after they were inspected; ``changed`` are their paths."""
        kept = []
        for job in self.manifest.jobs:
            values = (value for _, value in image_values(job.request) if isinstance(value, ImageFile))
            if any(value.path in changed for value in values):
                problem = self.problem_of(job, ("image",), "the file changed after it was read")
                self._set_aside(UnusableJob(*job.key, problem), waits=True)
            else:
                kept.append(job)
        self.manifest.jobs[:] = kept

    def warn(self, has: Callable[[str], bool]) -> None:
        """Add the warnings that need every job of the run; ``has`` says whether a job takes the picture at a path."""
        for at, found in self.found:
            for text in warnings.unused(found, has):
                self.warnings.append(at.problem(None, ("folder",), text))
        alike = [*warnings.same_but_case(self.manifest.jobs)]
        if alike:
            job, other = alike[0]
            text = f'differs from "{other}" only in case; where case means nothing, their clips have one name'
            self.warnings.append(self.problem_of(job, ("id",), text + and_more(len(alike) - 1)))
        if not (self.problems or self.manifest.jobs or self.manifest.unusable):
            text = warnings.no_job(self.empty, len(self.manifest.skipped))
            self.warnings.append(Problem(self.document.place(("jobs",)), "jobs", text))

    def where(self, job_id: str, take: int) -> Place:
        """The place of the job with an id and a take."""
        found = self.places[_key(job_id, take)]
        return found.at() if isinstance(found, Inline) else found.place if isinstance(found, Job) else found

    def problem_of(self, job: Job, path: Sequence[str | int], text: str) -> Problem:
        """A problem or warning about a job that was built."""
        found = self.places[_key(job.id, job.take)]
        if isinstance(found, Inline):
            return found.problem(job.id, path, text)
        return Problem(self.where(job.id, job.take), subject(job.id, None, path), text)


def _key(job_id: str, take: int) -> _Key:
    return job_id if take == 1 else (job_id, take)
