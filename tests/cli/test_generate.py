"""`netdsl generate` and `net.generate`: greedy and drawn tokens, against a causal convolution in NumPy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import netdsl as netdsl_package
from netdsl.app.generate import Alphabet, BadPrompt, Sampling, _chosen
from netdsl.base.user_error import UserError
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

K, WIDTH, LENGTH = 7, 5, 6
SYMBOLS = ["a", "b", "c", " ", "\n", "é", "€"]
RANDOM = np.random.default_rng(28)
WEIGHTS = {
    "embed.weight": RANDOM.normal(size=(K, WIDTH)).astype("f4"),
    "conv.weight": RANDOM.normal(size=(WIDTH, WIDTH, 3)).astype("f4"),
    "conv.bias": RANDOM.normal(size=WIDTH).astype("f4"),
    "head.weight": RANDOM.normal(size=(K, WIDTH)).astype("f4"),
    "head.bias": RANDOM.normal(size=K).astype("f4"),
}
BODY = "embed: embedding 7 5; conv: conv 3 5 pad [2, 0]; tanh; head: linear 7"
NETS = {
    "fixed": f"net lm {{ input tokens [{LENGTH}] dtype i64; {BODY} }}",
    "dynamic": f"net lm {{ input tokens [?L] dtype i64; {BODY} }}",
    "softmax": f"net lm {{ input tokens [{LENGTH}] dtype i64; {BODY}; softmax }}",
    "both": f"net lm {{ input tokens [{LENGTH}] dtype i64; {BODY.replace('[2, 0]', '1')} }}",
    "last": f"net lm {{ input tokens [{LENGTH}] dtype i64; {BODY}; slice 1 {LENGTH - 1} {LENGTH}; flatten }}",
}


def scores(tokens: list[int]) -> np.ndarray:
    """The scores of what follows the tokens: the last column of a causal convolution, in double precision."""
    w = {name: array.astype(float) for name, array in WEIGHTS.items()}
    x = np.concatenate([np.zeros((2, WIDTH)), w["embed.weight"][tokens]])[-3:]
    hidden = np.tanh(np.einsum("oik,ki->o", w["conv.weight"], x) + w["conv.bias"])
    found: np.ndarray = w["head.weight"] @ hidden + w["head.bias"]
    return found


def greedy(prompt: list[int], count: int, window: int | None = None) -> list[int]:
    known = [*prompt]
    for _ in range(count):
        known.append(int(scores(known if window is None else known[-window:]).argmax()))
    return known[len(prompt) :]


def drawn(prompt: list[int], count: int, temperature: float, top: int, seed: int) -> list[int]:
    """Tokens by the inverse of the distribution function, of the best first."""
    random, known = np.random.default_rng(seed), [*prompt]
    for _ in range(count):
        z = scores(known)
        best = sorted(range(K), key=lambda k: (-z[k], k))[:top]
        p = np.exp((z[best] - z[best[0]]) / temperature)
        at, u = 0, random.random() * p.sum()
        while u >= p[: at + 1].sum():
            at += 1
        known.append(best[at])
    return known[len(prompt) :]


def built(kind: str) -> Any:
    return netdsl_package.parse(NETS[kind]).session(weights=WEIGHTS)


@pytest.mark.parametrize("kind", ["fixed", "dynamic", "softmax"])
@pytest.mark.parametrize("prompt", [[2], [0, 3, 6, 1], [1, 2, 3, 4, 5, 6, 0, 1, 2, 3]])
def test_the_best_token_follows(kind: str, prompt: list[int]) -> None:
    """Also behind the end of the input, where a window of the last tokens is read: two before a token matter."""
    found = built(kind).generate(prompt, length=20)
    assert found == greedy(prompt, 20)
    assert len(set(found)) > 2


@pytest.mark.parametrize("kind", ["fixed", "dynamic", "softmax"])
@pytest.mark.parametrize(("temperature", "top"), [(1, K), (0.5, K), (2.5, 3), (1, 1)])
def test_tokens_are_drawn_from_the_softmax(kind: str, temperature: float, top: int) -> None:
    found = built(kind).generate([2, 5], length=40, temperature=temperature, top_k=top, seed=3)
    assert found == drawn([2, 5], 40, temperature, top, 3)
    if top > 1:
        assert found != built(kind).generate([2, 5], length=40, temperature=temperature, top_k=top, seed=4)


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    z, random = scores([1, 2, 3]), np.random.default_rng(0)
    count = 20_000
    drawn = np.bincount([_chosen(z, Sampling(0.7), random, False) for _ in range(count)], minlength=K) / count
    wanted = np.exp(z / 0.7) / np.exp(z / 0.7).sum()
    assert np.abs(drawn - wanted).max() < 4 * np.sqrt(0.25 / count)
    odd = np.array([-np.inf, 0, -np.inf])
    assert {_chosen(odd, Sampling(1.0), random, False) for _ in range(100)} == {1}
    assert _chosen(np.array([0, 1, 1.0]), Sampling(), random, False) == 1


def test_a_context_is_a_window() -> None:
    for kind in ("fixed", "dynamic"):
        assert built(kind).generate([1, 2, 3], length=12, context=2) == greedy([1, 2, 3], 12, 2)
        assert built(kind).generate([1, 2, 3], length=12, context=99) == greedy([1, 2, 3], 12)
    assert greedy([1, 2, 3], 12, 2) != greedy([1, 2, 3], 12)


def test_a_net_that_scores_only_what_follows_needs_a_whole_prompt() -> None:
    session = built("last")
    prompt = [1, 2, 3, 4, 5, 6]
    assert session.generate(prompt, length=15) == greedy(prompt, 15)
    with pytest.raises(UserError, match="lm scores what follows 6 tokens, and the prompt has 5"):
        session.generate(prompt[1:])


def test_padding_must_not_matter() -> None:
    session = built("both")
    with pytest.raises(UserError) as caught:
        session.generate([1, 2, 3])
    assert caught.value.code == "E0686"
    assert "lm is not causal: the scores at place 2 depend on the places after 2" in caught.value.message
    assert "`input tokens [?L] dtype i64`" in caught.value.helps[0]
    assert len(session.generate([1, 2, 3, 4, 5, 6], length=3)) == 3


def test_texts_of_an_alphabet() -> None:
    session = built("fixed")
    text = session.generate("ab €", length=12, alphabet=SYMBOLS)
    assert text == "".join(SYMBOLS[token] for token in greedy([0, 1, 3, 6], 12))
    with TemporaryDirectory() as folder:
        save_file(WEIGHTS, f"{folder}/w.safetensors", {"netdsl.classes.head": json.dumps(SYMBOLS)})
        session = netdsl_package.parse(NETS["fixed"]).session(weights=f"{folder}/w.safetensors")
        assert session.generate("ab €", length=12) == text


def test_bytes_that_make_characters() -> None:
    alphabet = Alphabet()
    tokens = alphabet.encode("aé€")
    assert tokens == [*"aé€".encode()]
    assert [*alphabet.decode([*tokens[:-1], 65])] == ["a", "", "é", "", "", "\ufffdA", ""]
    assert [*alphabet.decode(tokens[:2])] == ["a", "", "\ufffd"]


@pytest.mark.parametrize(
    ("call", "code", "told"),
    [
        (lambda s: s.generate([]), "E0685", "the prompt is empty"),
        (lambda s: s.generate("", alphabet=SYMBOLS), "E0685", "the prompt is empty"),
        (lambda s: s.generate([0, 7]), "E0685", "the token 7 of the prompt is not one of 0 to 6"),
        (lambda s: s.generate([-1]), "E0685", "the token -1"),
        (lambda s: s.generate("axyax", alphabet=SYMBOLS), "E0685", "7 symbols does not contain 'x', 'y'"),
        (lambda s: s.generate("a"), "E0687", "lm has no alphabet, and 7 scores"),
        (lambda s: s.generate("a", alphabet=SYMBOLS[1:]), "E0687", "has 6 symbols, but lm has 7 scores"),
        (lambda s: s.generate("a", alphabet=["a", *SYMBOLS[:-1]]), "E0687", "has empty or equal symbols"),
        (
            lambda s: s.generate("a", alphabet=[*SYMBOLS[:-1], "ab"]),
            "E0687",
            "symbols of several characters, such as 'ab'",
        ),
        (lambda s: s.generate(3), "E0650", "the prompt is a str, or a list of token numbers, not 3"),
        (lambda s: s.generate([1.5]), "E0650", "the prompt is a str, or a list of token numbers"),
        (lambda s: s.generate([1], length=0), "E0651", "length must be"),
        (lambda s: s.generate([1], temperature=-1), "E0651", "temperature must be a finite number of at least 0"),
        (lambda s: s.generate([1], temperature="hot"), "E0650", "temperature must be a number"),
        (lambda s: s.generate([1], top_k=0), "E0651", "top_k must be"),
        (lambda s: s.generate([1], context=0), "E0651", "context must be"),
        (lambda s: s.generate([1], beams=2), "E0650", "unexpected keyword argument 'beams'"),
        (lambda s: s.generate("a", alphabet=3), "E0650", "alphabet is a file, or a list of strings"),
    ],
)
def test_wrong_arguments(call: Callable[[Any], object], code: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        call(built("fixed"))
    assert caught.value.code == code
    assert told in caught.value.message


@pytest.mark.parametrize(
    ("net", "told"),
    [
        ("input x 4; dense 2", "n does not read tokens: it has the input `x` float32 4"),
        (
            "input a 4; x: identity; input b [4] dtype i64; embedding 3 4; add x { slice 1 0 1; flatten }",
            "`a` float32 4, `b` int64 4",
        ),
        ("input a 2x4 dtype i64; embedding 3 2; flatten; dense 3", "n does not read tokens"),
        ("input a [4] dtype i64; embedding 3 2; conv 3 3 pad 0", "no output of scores, [K, 4] or [K]"),
        ("input a [4] dtype i64; embedding 3 1", "no output of scores"),
        ("input a [4] dtype i64; embedding 3 2; output h; linear 5; output y", "2 outputs of scores"),
    ],
)
def test_nets_that_do_not_score_tokens(net: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        netdsl_package.parse(f"net n {{ {net} }}").generate([0, 1])
    assert caught.value.code == "E0684"
    assert told in caught.value.message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_numbers(value: float) -> None:
    weights = {**WEIGHTS, "head.bias": np.full(K, value, "f4")}
    with pytest.raises(UserError) as caught:
        netdsl_package.parse(NETS["fixed"]).generate([0, 1], weights=weights, allow_nonfinite=True)
    assert caught.value.code == "E0688"


def test_a_fixed_batch_and_half_precision() -> None:
    net = netdsl_package.parse(NETS["fixed"])
    assert net.generate([2, 5], length=8, weights=WEIGHTS, batch=3) == greedy([2, 5], 8)
    assert net.generate([2, 5], length=8, weights=WEIGHTS, dtype="f16", io="f16") == greedy([2, 5], 8)


# --- the command ---------------------------------------------------------------------------------------------------


def files(netdsl: Commands) -> None:
    netdsl.write(lm=NETS["fixed"], both=NETS["both"], bytes="net b { input x [8] dtype i64; embedding 256 256 }")
    np.savez("w.npz", **WEIGHTS)
    Path("symbols.json").write_text(json.dumps(SYMBOLS))


def test_the_command_prints_text_or_numbers(netdsl: Commands) -> None:
    files(netdsl)
    wanted = greedy([0, 1], 9)
    common = ["--weights", "w.npz", "--length", 9]
    ran = netdsl("generate", "lm.net", *common, "--tokens", "0 1")
    assert (ran.code, ran.out, ran.err) == (0, " ".join(map(str, wanted)) + "\n", "")
    text = "".join(SYMBOLS[token] for token in wanted)
    ran = netdsl("generate", "lm.net", *common, "--prompt", "ab", "--alphabet", "symbols.json")
    assert (ran.code, ran.out, ran.err) == (0, f"ab{text}\n", "")
    ran = netdsl("generate", "lm.net", *common, "--prompt", "ab", "--alphabet", "symbols.json", "--json")
    assert json.loads(ran.out) == {"prompt": "ab", "text": text, "tokens": wanted}
    ran = netdsl("generate", "lm.net", *common, "--tokens", "0,1", "--format", "json")
    assert json.loads(ran.out) == {"prompt": [0, 1], "tokens": wanted}
    chosen = ["--temperature", "1.5", "--top-k", 4, "--seed", 2]
    ran = netdsl("generate", "lm.net", *common, "--tokens", "0 1", *chosen)
    assert ran.out.split() == [str(token) for token in drawn([0, 1], 9, 1.5, 4, 2)]


def test_a_model_with_its_alphabet(netdsl: Commands) -> None:
    files(netdsl)
    save_file(WEIGHTS, "w.safetensors", {"netdsl.classes.output": json.dumps(SYMBOLS)})
    assert netdsl("compile", "lm.net", "--weights", "w.safetensors").code == 0
    ran = netdsl("generate", "lm.onnx", "--prompt", "ab", "--length", 9, "--seed", 0)
    assert (ran.code, ran.out) == (0, "ab" + "".join(SYMBOLS[token] for token in greedy([0, 1], 9)) + "\n")
    assert "does not accept --set" in netdsl("generate", "lm.onnx", "--prompt", "ab", "--set", "a=1").err


def test_random_weights_and_bytes(netdsl: Commands) -> None:
    files(netdsl)
    ran = netdsl("generate", "bytes.net", "--prompt", "é", "--length", 3)
    assert (ran.code, ran.out[0]) == (0, "é")
    assert "b: using random weights (seed 0); pass --weights FILE" in ran.err
    assert netdsl("generate", "bytes.net", "--prompt", "é", "--length", 3, "-q").err == ""


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["lm.net"], 2, "error[E0641]: generate needs a prompt to continue: --prompt TEXT, or --tokens NUMBERS"),
        (["lm.net", "--prompt", "a", "--tokens", "1"], 2, "not allowed with argument"),
        (["lm.net", "--tokens", "a"], 2, "'a' is not a list of token numbers, such as '20 15 0'"),
        (["lm.net", "--tokens", "1", "--temperature", "-1"], 2, "'-1' is not a number of at least 0"),
        (["lm.net", "--tokens", "1", "--temperature", "nan"], 2, "'nan' is not a number of at least 0"),
        (["lm.net", "--tokens", ""], 1, "error[E0685]: the prompt is empty"),
        (["lm.net", "--prompt", "a"], 1, "error[E0687]: lm.net has no alphabet, and 7 scores, not the 256 of bytes"),
        (["lm.net", "--prompt", "a", "--alphabet", "lm.net"], 1, "error[E0687]: lm.net is not a JSON list of symbols"),
        (["lm.net", "--prompt", "a", "--alphabet", "none.json"], 2, "none.json"),
        (["both.net", "--tokens", "1"], 1, "error[E0686]: both.net is not causal"),
    ],
)
def test_what_is_refused(netdsl: Commands, arguments: list[str], code: int, told: str) -> None:
    files(netdsl)
    ran = netdsl("generate", *arguments)
    assert (ran.code, told in ran.err) == (code, True), ran


def test_a_prompt_is_told_by_its_missing_symbols() -> None:
    with pytest.raises(BadPrompt, match=r"does not contain 'v', 'w', 'x', 'y', 'z', …"):
        Alphabet(["a", "b"]).encode("avwxyz0")


@pytest.mark.parametrize("level", ["character", "byte"])
def test_what_was_trained_on_a_text(netdsl: Commands, level: str) -> None:
    """The symbols of a trained model are in its metadata; those of 256 bytes are read as UTF-8."""
    Path("text.txt").write_text("né\n" * 200, "utf-8")
    count = 3 if level == "character" else 256
    netdsl.write(
        lm=f"net lm {{ input tokens [8] dtype i64; embedding {count} {count} }}\n"
        f'train lm {{ data text "text.txt" length 8 level {level}; loss cross_entropy; optimizer adam lr 0.3; '
        "batch 10; epochs 10 }"
    )
    assert netdsl("train", "lm.net", "--out", "run", "--threads", 1, "--step-backend", "plain").code == 0
    for given in (["lm.net", "--weights", "run/last.safetensors"], ["run/last.onnx"]):
        ran = netdsl("generate", *given, "--prompt", "n", "--length", 8 if level == "byte" else 6, "-q")
        assert (ran.code, ran.out, ran.err) == (0, "né\nné\nn\n", "")
