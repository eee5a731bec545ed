"""The key in texts: found in every spelling and in long parts, and nothing else taken for it."""

from __future__ import annotations

import base64
import json
import random
import string
import tracemalloc
from collections.abc import Iterator

import pytest

from batchgen.masking import BLOCK, Mask
from tests.support.spellings import SPELLINGS, readable

SALT = bytes(16)
KEY = "sk-live-A7bQ9zKx+LmN5pRt8vWy/CdF4gHj6kLqZ0=="
KEYS = {
    "with signs": KEY,
    "hex": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "a UUID": "sk-3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "a JWT": "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiI4NDJhIn0.k9XwQmTz0_b-RfYp3LsVd7uHc5NaGe2J",
    "letters alone": "qkzvmwxjtpryhdgbncfslaeuoiqkzvmwxjtpry",
    "a passphrase": "correct-horse-battery-staple-again",
}


WRITTEN = [
    (name, spelling)
    for name in KEYS
    for spelling in SPELLINGS
    if (name, spelling) != ("a JWT", "its beginning")  # which is no secret
]


@pytest.mark.parametrize(("name", "spelling"), WRITTEN)
def test_nothing_of_a_key_is_left_however_it_is_spelt(name: str, spelling: str) -> None:
    key = KEYS[name]
    secret = key.rpartition(".")[2]
    said = f"refused for {SPELLINGS[spelling](key)}; ask support"
    mask = Mask(key)
    heard = mask(said)
    assert readable(said, secret)  # the test can read it
    assert readable(heard, secret) == ""
    assert heard.startswith("refused for ") and heard.endswith("; ask support")
    assert "[key]" in heard
    assert mask.finds(said)


def test_what_is_around_the_key_stays() -> None:
    mask = Mask(KEY)
    assert mask(f"a {KEY} b {KEY.upper()}, c") == "a [key] b [key], c"
    said = json.dumps({"task_id": "8422509036", "message": f'no "{KEY}"', "n": 1})
    assert json.loads(mask(said)) == {"task_id": "8422509036", "message": 'no "[key]"', "n": 1}


def test_a_part_counts_from_twelve_characters_on() -> None:
    secret = KEY[8:]
    for length in range(1, len(secret)):
        said = f"x {secret[:length]}"
        assert (Mask(KEY)(said) == said) == (length < 12)


def test_a_short_key_is_guarded_by_shorter_parts() -> None:
    assert Mask("Zk4-9xQw7Tb2")("Zk4-9xQ") == "Zk4-9xQ"
    assert Mask("Zk4-9xQw7Tb2")("4-9xQw7T") == "[key]"


ORDINARY = {
    "sk-live-2026-9f86d081884c7d65": ["sk-live-2026", "the night of 2026-11-28", "sk-live-account"],
    "batchgen-9f86d081884c7d65": ["batchgen: 4 of 4 jobs done", "batchgen collect", "batchgen-9f"],
    "kling-v3-powertokens-9f86d081884c7d65": [
        "kling-v3",
        "https://api.powertokens.ai/kling/v1/videos",
        "kling-v3-pro",
    ],
    "powertokens-image2video-Zk49xQw7Tb2": ["powertokens image2video", "/kling/v1/videos/image2video"],
    KEY: ["8422509036", "task A7bQ9zKx+Lm", "Cj9hZ2-_x.y:1", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"],
    "sandbox": ["sandbox says no"],
    "": ["anything"],
}


@pytest.mark.parametrize(("key", "said"), [(key, text) for key, texts in ORDINARY.items() for text in texts])
def test_words_and_ids_that_share_a_little_with_a_key_stay(key: str, said: str) -> None:
    assert Mask(key)(said) == said
    assert not Mask(key).holds(said)
    assert not Mask(key).forget(SALT).holds(said)


@pytest.mark.parametrize("claims", [{"exp": 1764374400}, {"iss": "842a", "exp": 1764374400}])
def test_the_address_of_a_clip_that_another_token_signs_stays(claims: dict[str, object]) -> None:
    head, claimed = (
        base64.urlsafe_b64encode(json.dumps(part, separators=(",", ":")).encode()).decode().rstrip("=")
        for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    )
    mask = Mask(f"{head}.{claimed}.k9XwQmTz0_b-RfYp3LsVd7uHc5NaGe2J8oZtWx1qMnE")
    said = f"https://cdn.example.com/a.mp4?t={head}.{claimed}.Zt7Q_pYw3-LmK0sVbN8xRf2HdGc5JuE1aTqWoXyCi4M"
    assert mask(said) == said
    assert not mask.holds(said)


def test_no_id_of_a_million_is_taken_for_a_key() -> None:
    chance = random.Random(7)
    letters = string.ascii_letters + string.digits + "-_"
    mask = Mask(KEY, KEYS["hex"], KEYS["a UUID"])
    for size, alphabet in ((22, letters), (40, "0123456789abcdef"), (19, string.digits)):
        ids = " ".join("".join(chance.choices(alphabet, k=size)) for _ in range(20_000))
        assert mask(ids) == ids


@pytest.mark.parametrize("spelt", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_text_holds_a_key_from_half_of_it_on(spelt: object) -> None:
    assert callable(spelt)
    for holds in (Mask(KEY).holds, Mask(KEY).forget(SALT).holds):
        assert holds(f"a cat{spelt(KEY)}, slowly") == (len(spelt(KEY)) > 20)
        assert not holds(f"a cat, {KEY[:20]}, slowly")


@pytest.mark.parametrize("key", [*KEYS.values(), "sandbox", ""])
def test_what_recognises_a_key_has_none_of_it_and_goes_by_halves_as_well(key: str) -> None:
    mask = Mask(key)
    secret = key.rpartition(".")[2]  # of a JSON Web Token its signature alone
    half = (len(secret) + 1) // 2
    prints = mask.forget(SALT)
    assert [prints.holds(f"x {secret[at:][:half]} y") for at in (0, 1, len(secret) - half)] == [
        len(key) >= 12
    ] * 3
    assert not prints.holds(f"x {secret[: half - 1]} y {secret[half:][: half - 1]}")
    assert mask(f"x {key}") == f"x {key}"
    assert not secret or secret[:8].lower() not in (repr(vars(prints)) + repr(vars(mask))).lower()


def test_every_letter_of_a_large_text_takes_a_few_bytes_while_a_key_is_cut_out() -> None:
    said = "a caf\xe9, Wide \uff0c\\" * 10_000 + f" {KEY}"
    tracemalloc.start()
    try:
        heard = Mask(KEY)(said)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert heard == said.removesuffix(KEY) + "[key]"
    assert most < 50 * len(said)  # four numbers of four bytes, and texts of two bytes a letter


@pytest.mark.parametrize(
    "said", ["\u0130" + KEY.upper(), "\uff0c" + "".join(chr(ord(c) + 0xFEE0) for c in KEY.upper())]
)
def test_capitals_are_found_beside_letters_of_all_kinds(said: str) -> None:
    assert Mask(KEY)(f"{said}!") == f"{said[0]}[key]!"


@pytest.mark.parametrize(
    "said", ["%63" * 300_000, "\\" * 900_000, "&#x6b;" * 150_000, "sk-l" * 250_000, "=" * 900_000]
)
def test_a_key_in_a_megabyte_of_what_looks_like_one_is_found(said: str) -> None:
    mask = Mask(KEY)
    assert mask(f"{said}{KEY}{said}").count("[key]") == 1


ENDS = ("", "\\", "\\\\", "%", "%4", "&", "&#", "&#x6", "\\u", "\\u{", "\\x4", "\0", "\u200b", "\u0130")


@pytest.mark.parametrize("end", ENDS)
def test_many_texts_are_masked_together_as_each_would_be_alone(end: str) -> None:
    mask, chance = Mask(KEY), random.Random(3)
    spelt = [spelling(KEY) for spelling in SPELLINGS.values()]
    texts = [f"{end}{chance.choice([*spelt, 'a cat', KEY[:20], ''])}{end}" for _ in range(BLOCK)]
    texts += ["a cat"] * BLOCK + [KEY]
    assert [*mask.each(texts)] == [*map(mask, texts)]


def test_what_came_before_an_error_is_not_lost() -> None:
    def rows() -> Iterator[str]:
        yield from ["a", KEY]
        raise ValueError("the third can't be read")

    heard: list[str] = []
    with pytest.raises(ValueError, match="the third"):
        heard.extend(Mask(KEY).each(rows()))
    assert heard == ["a", "[key]"]
