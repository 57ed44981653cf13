"""The loss `mean` of outputs that are losses themselves, for which the data have no target."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import load_from_string

import netdsl
from netdsl.base.user_error import UserError
from netdsl.data.errors import NoSuchTarget
from netdsl.data.kinds import KINDS
from netdsl.train.export import PROTOCOL_KEY, step_to_bytes
from tests.support.recipe_tools import recipe_of, right

PLAIN = {"threads": 1, "step_backend": "plain"}
CODER = """
net coder {
  input x 1x4x4
  flatten; image: scale 1/255
  code: dense 3; tanh
  output size training { square; reduce sum 0 }
  dense 16; sub image; square
  output error
}
"""
BLOCK = "train coder { data DATA; loss error mean weight 2; loss size mean weight 0.1; batch 4; epochs 2 }\n"


def pixels(count: int = 11) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 1, 4, 4), np.uint8)


def objective(weights: Any, x: np.ndarray) -> tuple[float, float]:
    """The two means, in double precision."""
    image = x.reshape(len(x), -1) / 255
    w = {name: np.asarray(array, "f8") for name, array in weights.items()}
    code = np.tanh(image @ w["code.weight"].T + w["code.bias"])
    decoded = code @ w["dense1.weight"].T + w["dense1.bias"]
    return float(np.mean((decoded - image) ** 2)), float(np.mean(np.sum(code**2, axis=1)))


def test_a_step_descends_the_weighted_sum_of_the_means() -> None:
    x = pixels(4)
    net = netdsl.parse(CODER)
    how: dict[str, Any] = {"loss": {"error": "mean weight 2", "size": "mean weight 0.1"}, "batch": 4, **PLAIN}
    before = net.fit(x, epochs=1, lr=1e-30, **how)
    after = net.fit(x, epochs=1, lr=0.1, **how)

    def loss(weights: Any) -> float:
        error, size = objective(weights, x)
        return 2 * error + 0.1 * size

    assert before.history[-1]["loss"] == pytest.approx(loss(before.weights), rel=1e-5)
    for name, w in before.weights.items():
        w = np.asarray(w, "f8")
        for at in (0, w.size // 2, w.size - 1):
            h = np.zeros(w.size)
            h[at] = 1e-5
            ahead, behind = (loss({**before.weights, name: w + sign * h.reshape(w.shape)}) for sign in (1, -1))
            step = (w - after.weights[name]).ravel()[at] / 0.1
            assert step == pytest.approx((ahead - behind) / 2e-5, rel=1e-3, abs=1e-5)


def test_validation_has_all_means_over_uneven_batches() -> None:
    x = pixels()
    how: dict[str, Any] = {"loss": {"error": "mean weight 2", "size": "mean weight 0.1"}, "batch": 4, **PLAIN}
    found = netdsl.parse(CODER).fit(x, validate=(x, None), epochs=1, **how)
    error, size = objective(found.weights, x)
    assert found.history[-1]["validation_loss"] == pytest.approx(2 * error + 0.1 * size, rel=1e-5)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_folder(folder: Path, x: np.ndarray) -> str:
    image = pytest.importorskip("PIL.Image")
    for name, part in (("a", x[:5]), ("b", x[5:])):
        Path(folder, name).mkdir(parents=True)
        for at, each in enumerate(part):
            image.fromarray(each[0]).save(Path(folder, name, f"{at:02}.png"))
    return 'folder "folder"'


def write_mnist(folder: Path, x: np.ndarray) -> str:
    folder.mkdir()
    Path(folder, "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x[:, 0])))
    return 'mnist "mnist"'


def write_npz(path: Path, x: np.ndarray) -> str:
    np.savez(path.with_suffix(".npz"), x=x, y=np.zeros(3))
    return 'npz "npz.npz"'


@pytest.mark.parametrize(("name", "write"), [("npz", write_npz), ("mnist", write_mnist), ("folder", write_folder)])
def test_data_need_no_target(tmp_path: Path, name: str, write: Any) -> None:
    x = pixels()
    file = Path(tmp_path, "coder.net")
    file.write_text(CODER + BLOCK.replace("DATA", write(Path(tmp_path, name), x)))
    assert not [each for each in netdsl.check(file) if each.severity == "error"]
    found = netdsl.fit(file, **PLAIN)
    same = netdsl.fit(file, data=(x, None), **PLAIN)
    for key, array in same.weights.items():
        assert np.array_equal(found.weights[key], array)


def test_iterables_have_inputs_alone_or_are_not_read_further(tmp_path: Path) -> None:
    x, settings = pixels(12), {"train.epochs": 1}
    file = Path(tmp_path, "coder.net")
    file.write_text(CODER + BLOCK.replace("DATA", 'npz "x.npz"'))
    rows = [
        netdsl.fit(file, data=[item] * 3, settings=settings, **PLAIN).history[-1]["loss"]
        for item in ((x[:4], None), [x[:4]], (x[:4], np.arange(4)))
    ]
    assert rows[0] == rows[1] == rows[2]


def test_backends_agree() -> None:
    net = netdsl.parse(
        "net n { input x 1x12x12; conv 3x3 16; relu; output p training { square }; conv 3x3 16; relu; dense 3 }"
    )
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((16, 1, 12, 12)).astype("f4"), rng.integers(0, 3, 16)
    how: dict[str, Any] = {"loss": {"output": "cross_entropy", "p": "mean weight 5"}, "batch": 8, "lr": 0.1}
    one, two = (
        net.fit(x, y, validate=(x, y), epochs=3, threads=1, step_backend=backend, **how).history
        for backend in ("plain", "nchwc")
    )
    for row, other in zip(one, two, strict=True):
        for name in ("loss", "validation_loss"):
            assert row[name] == pytest.approx(other[name], rel=1e-4)


def test_accumulated_batches_are_one_batch_and_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    x = pixels(16)
    np.savez(tmp_path / "x.npz", x=x)
    file = tmp_path / "coder.net"
    file.write_text(CODER + BLOCK.replace("DATA", 'npz "x.npz"; validate 0.25'))
    whole = netdsl.fit(file, out=tmp_path / "whole", **PLAIN)
    netdsl.fit(file, out=tmp_path / "parts", settings={"train.epochs": 1}, **PLAIN)
    resumed = netdsl.fit(file, out=tmp_path / "parts", resume=True, **PLAIN)
    halves = netdsl.fit(file, settings={"train.batch": 2, "train.accumulate": 2}, **PLAIN)
    for name, array in whole.weights.items():
        assert np.array_equal(array, resumed.weights[name])
        assert halves.weights[name] == pytest.approx(array, abs=1e-6)


def test_a_compiled_step_has_no_target() -> None:
    recipe = right(CODER + BLOCK.replace("DATA", 'npz "x.npz"'))
    model = load_from_string(step_to_bytes(recipe))
    told = json.loads({each.key: each.value for each in model.metadata_props}[PROTOCOL_KEY])
    assert (told["inputs"], told["targets"]) == (["x"], {})
    assert [each["target"] for each in told["losses"]] == [None, None]
    assert "target" not in {each.name for each in model.graph.input}


def test_evaluation_is_of_the_means() -> None:
    x, net = pixels(), netdsl.parse(CODER + BLOCK.replace("DATA", 'npz "x.npz"'))
    weights = net.fit(x, epochs=1, **PLAIN).weights
    error, size = objective(weights, x)
    result = netdsl.evaluate(net, (x, None), weights=weights)
    assert result["loss"] == pytest.approx(2 * error + 0.1 * size, rel=1e-5)
    heads = netdsl.parse(HEADS + 'train n { data npz "x"; loss p mse }')
    with pytest.raises(UserError, match="do not exist at inference"):
        netdsl.evaluate(heads, (np.zeros((3, 8), "f4"), np.zeros((3, 6), "f4")))


HEADS = "net n { input x 8; dense 6; output p training { square }; dense 3 }\n"
TWO = "net n { input x 8; dense 6; output p { square }; output q { dense 3 } }\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"{TWO}train n {{ data npz 'x'; loss q cross_entropy; loss p mean; metric p mae }}", "E0371"),
        (f"{HEADS}train n {{ data npz 'x'; loss p mean; metric accuracy }}", "E0371"),
        (f"{HEADS}train n {{ data npz 'x'; loss p mse; metric accuracy }}", "E0371"),
        (f"{HEADS}train n {{ data npz 'x'; loss output cross_entropy }}", "E0221"),
        (f"{HEADS}train n {{ data npz 'x'; validate 0.1; loss p mse }}", "E0425"),
        ("net n { input x 8; dense 3; argmax }\ntrain n { data npz 'x'; loss mean }", "E0355"),
    ],
)
def test_misuse(text: str, code: str) -> None:
    assert [problem.code for problem in recipe_of(text.replace("'", '"'))[1]] == [code]


WITH_A_TARGET = {
    "npy": "'x' 'y'",
    "csv": "'x' target 'y'",
    "parquet": "'x' target 'y'",
    "text": "'x' length 8",
    "xor": "",
    "clouds": "",
    "connectedness": "",
    "shapes": "",
}


def test_data_that_always_have_a_target_say_that_no_loss_reads_it(tmp_path: Path) -> None:
    assert {name for name, kind in KINDS.items() if not kind.untargeted} == WITH_A_TARGET.keys()
    for kind, arguments in WITH_A_TARGET.items():
        block = f"train n {{ data {kind} {arguments}; loss mean }}".replace("'", '"')
        (tmp_path / "n.net").write_text(f"net n {{ input x 8; dense 1; square }}\n{block}")
        (problem,) = netdsl.check(tmp_path / "n.net")
        assert problem.message().endswith(
            f"`{kind}` cannot fit the net `n`: it has a target, which no loss of the net reads; `npz` can have the "
            "inputs alone"
        )


def test_a_head_that_cannot_share_the_target_is_offered_a_mean() -> None:
    (problem,) = recipe_of(f'{HEADS}train n {{ data npz "x"; loss output cross_entropy }}')[1]
    (suggestion,) = problem.suggestions()
    assert suggestion.edits[0].text == "; loss p mean weight 0.3"


def test_targets_that_no_loss_reads_are_errors(tmp_path: Path) -> None:
    x, y = np.zeros((6, 8), "f4"), np.zeros(6, "i8")
    net = netdsl.parse(TWO)
    losses = {"p": "mean", "q": "cross_entropy"}
    for targets, loss in (({"target.q": y, "target.p": y}, losses), (y, {"p": "mean"})):
        with pytest.raises(NoSuchTarget):
            net.fit(x, targets, loss=loss)
    with pytest.raises(UserError, match="no target y"):
        net.fit(x, loss=losses)
    np.savez(tmp_path / "x.npz", **{"x": x, "target.q": y, "target.p": y})
    file = tmp_path / "n.net"
    file.write_text(f'{TWO}train n {{ data npz "x.npz"; loss q cross_entropy; loss p mean }}')
    with pytest.raises(NoSuchTarget, match=r"has `target\.p`"):
        netdsl.fit(file)


def test_the_autoencoder_of_the_zoo_has_the_objective_of_its_paper() -> None:
    """Kingma & Welling (2014), equation 10, at the mean of the code, with a Bernoulli decoder."""
    net = netdsl.load("vae", hidden=16, latent=3)
    x = np.random.default_rng(0).integers(0, 256, (9, 1, 28, 28), np.uint8)
    losses = {"error": "mean", "divergence": "mean"}
    found = net.fit(x, validate=(x, None), loss=losses, epochs=1, batch=4, lr=0.01, **PLAIN)

    def dense(h: np.ndarray, name: str) -> np.ndarray:
        return h @ found.weights[f"{name}.weight"].astype("f8").T + found.weights[f"{name}.bias"]

    image = x.reshape(9, 784) / 255
    h = np.maximum(dense(image, "fc1"), 0)
    mean, log_variance = dense(h, "fc21"), dense(h, "fc22")
    p = 1 / (1 + np.exp(-dense(np.maximum(dense(mean, "fc3"), 0), "fc4")))
    likelihood = np.sum(image * np.log(p) + (1 - image) * np.log(1 - p), axis=1)
    divergence = -0.5 * np.sum(1 + log_variance - mean**2 - np.exp(log_variance), axis=1)
    assert found.history[-1]["validation_loss"] == pytest.approx(np.mean(divergence - likelihood), rel=1e-5)
