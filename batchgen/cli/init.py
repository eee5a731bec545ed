"""``batchgen init``: a first manifest for a folder of pictures, its plan, and what to do next."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys

from batchgen import advice
from batchgen.amounts import MICROS, about
from batchgen.api import keys
from batchgen.cli import config
from batchgen.cli.output import Output
from batchgen.cli.plan import plan
from batchgen.cli.report import counted
from batchgen.errors import UsageError
from batchgen.files import open_regular
from batchgen.manifest import scaffold
from batchgen.manifest.folders import PICTURES
from batchgen.money.prices import Prices

NAMED = 5  # files of a kind that are named
KINDS = 8  # suffixes that are named
REHEARSED = 12  # jobs of a rehearsal: enough to see it
TRIED = 3  # clips to pay for before all others
NEIGHBOURS = 200  # manifests beside the new one that are looked into


def init(args: argparse.Namespace, out: Output) -> int:
    """Write a manifest for a folder of pictures, and show what a run would do. Returns the exit code of the plan."""
    shown, root = _folder(args.folder)
    target, name = _target(args.output, shown, root)
    try:
        contents = scaffold.look(root, shown)
    except OSError as error:
        raise UsageError(f"{shown}, or a folder in it: {error.strerror}; nothing was written") from error
    if not (contents.suffixes or contents.alone):
        raise UsageError(_no_pictures(shown, contents))
    here = os.path.dirname(os.path.abspath(target))
    relative = os.path.relpath(root, here)
    account_prices = config.prices(args)
    cost = contents.pictures * account_prices.estimate(scaffold.FIELDS)
    text = scaffold.text(
        contents,
        name=name,
        folder=f"./{relative}" if relative.startswith("~") else relative,
        max_cost_usd=max(1, -(-cost // MICROS)),
        clips=args.usual.get("output_dir"),
    )
    claiming = scaffold.claimed_by(_neighbours(here), root)
    _write(target, text)
    steps = _next(target, contents.pictures, account_prices)
    talks = not (args.quiet or args.json)
    if talks:
        out.say(*_found(target, contents))
        out.say(*(_claimed(file, target) for file in claiming))
    args.paths, args.output_dir, args.strict = [target], None, False
    args.retry_failed = args.accept_changes = False
    document = {
        "manifest": target,
        "pictures": contents.pictures,
        "prepared": contents.needs.total(),
        "left_out": contents.twins,
        "next": [command for command, _ in steps],
    }
    code = plan(args, out, document)
    if talks:
        out.say("what to do next:", *_steps(steps), *_cron(target))
    return code


def _folder(given: str) -> tuple[str, str]:
    """The folder as messages name it, and its absolute path. Raises UsageError."""
    path = os.path.expanduser(given)
    shown = os.path.normpath(path)
    if os.path.isdir(path):
        return shown, os.path.abspath(path)
    if not os.path.lexists(path):
        raise UsageError(f"{shown}: no such folder")
    if shown.endswith((".yaml", ".yml")):
        raise UsageError(
            f"{shown} is a manifest already, it seems; what it does says {advice.command('plan', shown)}"
        )
    parent = os.path.dirname(shown) or "."
    raise UsageError(f"{shown} is a file; name the folder that it lies in: {advice.command('init', parent)}")


def _target(given: str | None, shown: str, root: str) -> tuple[str, str]:
    """The manifest's file as messages name it, and its name. Raises UsageError."""
    base = os.path.basename(root) or "pictures"
    name = scaffold.manifest_name(base)
    if given is None:
        parent = (
            os.path.join(shown, "..")
            if os.path.basename(shown) in ("", ".", "..")
            else os.path.dirname(shown)
        )
        target = os.path.normpath(os.path.join(parent, f"{name}.yaml"))
    else:
        target = os.path.normpath(os.path.expanduser(given))
        if os.path.isdir(target) or given.endswith("/"):
            target = os.path.join(target, f"{name}.yaml")
        elif not target.endswith((".yaml", ".yml")):
            raise UsageError(f"-o {given}: a manifest's name ends in .yaml")
        else:
            name = scaffold.manifest_name(os.path.splitext(os.path.basename(target))[0])
    for path in (root, target):
        try:
            path.encode()
        except UnicodeEncodeError:
            raise UsageError(
                f"{advice.quoted(path)}: its name is no UTF-8, and a manifest can't name it; rename it"
            ) from None
    if os.path.lexists(target):
        raise UsageError(
            f"{target} is there already, and nothing is overwritten: `{advice.command('plan', target)}` says what it"
            " does. Pictures that come later are jobs of its later runs; another manifest, by -o FILE.yaml, has jobs"
            " of its own, and pays for clips that this one has paid"
        )
    return target, name


def _write(target: str, text: str) -> None:
    """Write a file that isn't there yet. Raises UsageError."""
    try:
        with open(target, "x", encoding="utf-8", opener=open_regular) as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                os.unlink(target)
                raise
    except FileExistsError:
        raise UsageError(f"{target} is there already, and nothing is overwritten") from None
    except OSError as error:
        raise UsageError(
            f"{target} can't be written: {error.strerror}; -o FILE.yaml writes it elsewhere"
        ) from error


def _no_pictures(shown: str, contents: scaffold.Contents) -> str:
    """Why there is nothing to write a manifest for."""
    kinds = ", ".join(
        f"{count:,} {suffix or 'without a suffix'}" for suffix, count in contents.others.most_common(KINDS)
    )
    more = f" and {len(contents.others) - KINDS:,} more kinds" if len(contents.others) > KINDS else ""
    what = f"it has {kinds}{more}" if kinds else "it is empty"
    hint = "; convert them to JPEG" if any(suffix in PICTURES for suffix in contents.others) else ""
    return f"{shown}: no picture that can be used lies in it or below: {what}{hint}; nothing was written"


def _found(target: str, contents: scaffold.Contents) -> list[str]:
    """What was written, and of what."""
    lines = [f"wrote {target}: {counted(contents.pictures, 'picture')}"]
    if contents.needs:
        lines[0] += (
            f", {contents.needs.total():,} of them to be prepared ({scaffold.reasons(contents.needs)})"
        )
    if own := contents.prompts + contents.fields:
        lines.append(f"  {counted(own, 'text')} beside pictures, with prompts or fields of their own")
    if contents.twins:
        lines.append(f"  left out, since another picture has their name: {_some(contents.twins)}")
    if unused := {suffix: count for suffix, count in contents.others.items() if suffix in PICTURES}:
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(unused.items()))
        lines.append(f"  left out, since they can't be prepared (convert them to JPEG): {kinds}")
    return lines


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _neighbours(folder: str) -> list[str]:
    """The manifests that lie in a folder."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith((".yaml", ".yml")))
    except OSError:
        return []
    return [os.path.join(folder, name) for name in names[:NEIGHBOURS]]


def _claimed(file: str, target: str) -> str:
    name = os.path.basename(file)
    return (
        f"warning: {name} takes pictures of this folder, too; what both take is paid twice, if both are run"
    )


def _next(target: str, pictures: int, prices: Prices) -> list[tuple[str, str]]:
    """The commands that come next, each with what it is for."""
    many = f" --max-jobs {REHEARSED}" if pictures > REHEARSED else ""
    steps = [(advice.command("run", target, options=f"--sandbox{many}"), "rehearse it: no key, no money")]
    if not keys.key_without_waiting(os.environ):
        key = f"export {keys.KEY_FILE_VARIABLE}=~/.config/batchgen/key"
        steps.append((key, "a file with your key"))
    if pictures > TRIED:
        cost = about(TRIED * prices.estimate(scaffold.FIELDS))
        few = advice.command("run", target, options=f"--max-jobs {TRIED}")
        steps.append((few, f"a few clips first, to see whether the prompt is right; about {cost}"))
    return [*steps, (advice.command("run", target), "make all that is still missing; it pays for each once")]


def _steps(steps: list[tuple[str, str]]) -> list[str]:
    width = max(len(command) for command, _ in steps)
    return [f"  {command:{width}}  {purpose}" for command, purpose in steps]


def _program() -> str:
    """The program that runs, for a shell that looks for programs elsewhere, or finds another one by this name."""
    if os.path.basename(sys.argv[0]) == "batchgen" and (path := shutil.which(sys.argv[0])):
        return shlex.quote(os.path.abspath(path))
    return f"{shlex.quote(sys.executable)} -m batchgen"


def _cron(target: str) -> list[str]:
    """How it runs every night."""
    program = _program()
    manifest = shlex.quote(os.path.abspath(target))
    key = shlex.quote(os.environ.get(keys.KEY_FILE_VARIABLE) or os.path.expanduser("~/.config/batchgen/key"))
    line = f"{keys.KEY_FILE_VARIABLE}={key} {program} run --deadline 06:00 --until 07:30 {manifest}"
    return ["every night, as a line of crontab -e:", "  30 22 * * * " + line.replace("%", "\\%")]
