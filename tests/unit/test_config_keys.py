"""The keys of the configuration file are the options: each stands in the schema or is refused with a reason, and none is there twice."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import pytest

from batchgen.cli import arguments, options
from batchgen.cli.config import BELOW_MANIFESTS
from batchgen.cli.config_keys import REFUSED, REFUSED_BELOW, Key, keys
from batchgen.cli.settings import VARIABLES
from batchgen.manifest.configuration import why_untrusted
from tests.support.config_schema import FILE, document

COMMANDS = options.parser().commands
KEYS = {key.path: key for key in keys(COMMANDS)}


def test_the_schema_is_that_of_the_options() -> None:
    assert json.loads(FILE.read_text()) == document(), "an option has changed: make schema writes its key"


def test_every_option_of_every_command_has_a_key() -> None:
    found = {id(key.action) for key in KEYS.values()}
    for parser in COMMANDS.values():
        assert {id(option) for option in parser.options} <= found


def test_what_is_refused_is_an_option() -> None:
    assert {(name,) for name in REFUSED} <= KEYS.keys()
    commands = {path for path in REFUSED_BELOW if path[1] == "*"}
    assert REFUSED_BELOW.keys() - commands <= KEYS.keys()
    assert {command for command, _ in commands} <= COMMANDS.keys()


def test_what_pays_or_decides_is_refused() -> None:
    refused = {key.path[-1] for key in KEYS.values() if key.refused}
    assert refused >= {
        "yes",
        "plan",
        "accept_changes",
        "retry_failed",
        "only",
        "abandon",
        "not_created",
        "again",
    }


def test_a_key_below_a_command_has_no_commands_name() -> None:
    """Else a group and an option at the top would be one key."""
    tops = {path[0] for path, key in KEYS.items() if len(path) == 1 and not key.refused}
    groups = {path[0] for path, key in KEYS.items() if len(path) == 2 and not key.refused}
    assert tops.isdisjoint(groups | {"prices"})


def test_what_stands_between_options_and_the_file_are_options_dests() -> None:
    dests = {option.dest for parser in COMMANDS.values() for option in parser.options}
    assert VARIABLES.keys() <= dests
    assert dests >= BELOW_MANIFESTS


@pytest.mark.parametrize("name", sorted(VARIABLES))
def test_a_variable_of_the_environment_is_named_by_its_options_help(name: str) -> None:
    helps = {option.help for parser in COMMANDS.values() for option in parser.options if option.dest == name}
    assert all(VARIABLES[name] in str(text) for text in helps), "and each variable in a help is in VARIABLES"


def test_every_variable_that_a_help_names_stands_above_the_file() -> None:
    for parser in COMMANDS.values():
        for option in parser.options:
            for word in str(option.help).replace("(", " ").replace(";", " ").replace(")", " ").split():
                if word.startswith(("BATCHGEN_", "POWERTOKENS_")):
                    assert VARIABLES[option.dest] == word


@pytest.mark.parametrize(
    ("name", "typed", "value"),
    [
        ("max_cost", 50, 50.0),
        ("max_cost", "$12.5", 12.5),
        ("max_jobs", 4.0, 4),
        ("timeout", 90, 90.0),
        ("timeout", "1h30m", 5400.0),
        ("min_speed", "16K", 16384.0),
        ("log_file", "logs/night.log", "/etc/batchgen/logs/night.log"),
        ("log_file", "../night.log", "/etc/night.log"),
        ("log_file", "/var/log/night.log", "/var/log/night.log"),
        ("log_file", "~/night.log", os.path.expanduser("~/night.log")),
        ("output_dir", "clips", "/etc/batchgen/clips"),
        ("ledger", "postgresql://host/db", "postgresql://host/db"),
        ("base_url", "https://gate.example/api", "https://gate.example/api"),
    ],
)
def test_a_value_is_that_of_the_command_line(name: str, typed: Any, value: Any) -> None:
    assert KEYS[name,].value(typed, "/etc/batchgen") == value


def test_lists_are_what_may_be_given_several_times_or_with_commas() -> None:
    assert KEYS["sandbox", "fault"].value(["reset_after=0.1", "deny@3"], "/") == ["reset_after=0.1", "deny@3"]
    assert KEYS["sandbox", "fault"].value("deny@3", "/") == ["deny@3"]
    hosts = [KEYS["clip_hosts",].value(typed, "/") for typed in (["a.corp", "b.corp"], "a.corp,b.corp")]
    assert hosts[0] == hosts[1] == arguments.clip_hosts("a.corp,b.corp")


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ("run m.yaml", set()),
        ("run m.yaml --log-format text", {"log_format"}),  # also where it is as built in
        ("run m.yaml --timeout 60 --settle=300", {"timeout", "settle"}),
        ("run -q m.yaml -n", {"quiet", "dry_run"}),
        ("run --no-strict m.yaml", {"strict"}),
        ("review --browser", {"no_browser"}),
        ("plan m.yaml --only a --only b", {"only"}),
        ("status", set()),
        ("status a b", set()),
    ],
)
def test_what_a_command_line_gives_is_known(words: str, given: set[str]) -> None:
    args = options.parser().parse_args(words.split())
    assert args.given & {option.dest for option in COMMANDS[args.command].options} == given


def test_a_switch_can_be_turned_off() -> None:
    parse = options.parser().parse_args
    assert parse(["run", "--strict", "m.yaml"]).strict is True
    assert parse(["run", "--no-strict", "m.yaml"]).strict is False
    assert parse(["validate", "--", "--no-strict"]).paths == ["--no-strict"]
    with pytest.raises(SystemExit):
        parse(["run", "--no-timeout", "m.yaml"])


def test_one_option_given_many_times_keeps_its_own_list() -> None:
    parse = options.parser().parse_args
    assert parse(["plan", "m.yaml", "--only", "a", "--only", "b"]).only == ["a", "b"]
    assert parse(["plan", "m.yaml", "--only", "c"]).only == ["c"]
    assert parse(["plan", "m.yaml"]).only is None


@pytest.mark.parametrize(
    ("owner", "mode", "user", "trusted"),
    [
        (1000, 0o100600, 1000, True),
        (1000, 0o100644, 1000, True),
        (1000, 0o100664, 1000, True),  # a group of one is usual
        (0, 0o100644, 1000, True),
        (1000, 0o100646, 1000, False),
        (0, 0o100666, 1000, False),
        (1001, 0o100600, 1000, False),
        (1000, 0o100600, 0, False),
    ],
)
def test_a_file_that_others_may_have_written_is_not_believed(
    owner: int, mode: int, user: int, trusted: bool
) -> None:
    status = os.stat_result((mode, 1, 1, 1, owner, 1, 10, 0, 0, 0))
    assert (not why_untrusted(status, user)) is trusted


@pytest.mark.parametrize("path", [("ledger",), ("metrics_file",), ("on_finish",), ("notify_url",)])
def test_a_value_that_no_command_line_can_have_is_refused(path: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="character with the number 0"):
        KEYS[path].value("a\0b", "/")


def test_a_key_is_an_options_long_name() -> None:
    action = argparse.ArgumentParser().add_argument("-q", "--very-quiet", action="store_true")
    assert Key(("very_quiet",), action).is_switch
    assert ("plan", "output") in KEYS
    assert ("dry_run",) in KEYS
