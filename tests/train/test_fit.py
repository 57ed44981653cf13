"""The parts of a training: the loop, reading ahead, validation, what a program gives as data."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from netdsl import ops
from netdsl.backend.emit import emit
from netdsl.base.text import Source
from netdsl.base.user_error import UserError
from netdsl.data.errors import BadStream
from netdsl.diagnostics.report import Report
from netdsl.elaborate.library import Library
from netdsl.elaborate.train_block import recipe
from netdsl.ir.graph import Graph
from netdsl.report.confusion import confusion_lines, draw_confusion
from netdsl.train import prefetch as reading
from netdsl.train.from_python import given
from netdsl.train.nonfinite import Diverged
from netdsl.train.open_data import open_data
from netdsl.train.prefetch import prefetched
from netdsl.train.runner import Runner

PROGRAM = """
net small {
  input image 1x6x6
  conv 3x3 3 pad 1 bias off; bn; relu; dropout 0.2
  dense 4
}
train small {
  data npz "data.npz"
  loss cross_entropy
  metric accuracy
  optimizer sgd lr 0.05 momentum 0.9
  batch 8; epochs 3; seed 5
}
"""
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def program(tmp_path: Path) -> Path:
    (tmp_path / "small.net").write_text(PROGRAM)
    x, y = pair()
    np.savez(tmp_path / "data.npz", image=x, target=y)
    return tmp_path / "small.net"


def pair(count: int = 30) -> Pair:
    rng = np.random.default_rng(0)
    return rng.standard_normal((count, 1, 6, 6)).astype(np.float32), rng.integers(0, 4, count)


def test_the_last_batch_is_dropped_in_training_and_taken_in_validation(program: Path) -> None:
    """30 examples are 3 batches of 8 an epoch; validation's figures are those of the model, run on all of them."""
    x, y = pair()
    trained = netdsl.fit(program, validate=(x, y))
    assert [row["step"] for row in trained.history] == [3, 6, 9]
    scores = trained.net.session(weights=trained.weights)(image=x)["output"]
    last = trained.history[-1]
    assert last["validation_accuracy"] == np.mean(scores.argmax(1) == y)
    logs = scores - scores.max(1, keepdims=True)
    logs = logs - np.log(np.exp(logs).sum(1, keepdims=True))
    assert last["validation_loss"] == pytest.approx(-logs[np.arange(len(y)), y].mean(), rel=1e-5)


@pytest.mark.parametrize(
    "line", ["flip p 1", "flip vertical p 1", "rotate 180", "erase p 1", "crop pad 3", "{ crop pad 3; erase p 1 }"]
)
@pytest.mark.parametrize("validate", ['npz "held.npz"', "0.25", "0.5"])
def test_held_out_pictures_are_not_augmented(tmp_path: Path, line: str, validate: str) -> None:
    """Each is one of the file's as it is there; of those trained with, hardly one is."""
    rng = np.random.default_rng(0)
    pictures = {name: rng.uniform(1, 2, (40, 2, 5, 7)).astype(np.float32) for name in ("data", "held")}
    for name, x in pictures.items():
        np.savez(tmp_path / f"{name}.npz", image=x, target=np.arange(40) % 3)
    text = (
        "net n { input image 2x5x7; dense 3 }\n"
        f'train n {{ data npz "data.npz"; validate {validate}; augment {line}; loss cross_entropy; batch 10 }}'
    )
    made = recipe(Library(Report()).load(Source(str(tmp_path / "n.net"), text), "n.net"))
    assert made is not None
    training, held_out = open_data(made)
    assert held_out is not None
    kept = {x.tobytes() for x in pictures["data" if validate[0] == "0" else "held"]}
    batches = held_out.batches(7, seed=1, epoch=0, shuffle=False, drop_last=False)
    seen = [x.tobytes() for batch in batches for x in batch["image"]]
    assert len(seen) == len(set(seen)) == (40 * float(validate) if validate[0] == "0" else 40)
    assert set(seen) <= kept
    changed = [x.tobytes() not in kept for batch in training.batches(10, seed=1, epoch=0) for x in batch["image"]]
    assert np.mean(changed) > 0.8


def test_a_part_of_passed_arrays_is_held_out_as_of_a_file(program: Path) -> None:
    """The part is the same, and augmented in neither."""
    program.write_text(PROGRAM.replace("loss", "validate 0.4; augment flip vertical p 1; loss"))
    of_file = netdsl.fit(program)
    assert netdsl.fit(program, data=pair()).history == of_file.history


def test_the_best_epoch_is_that_of_the_first_metric(program: Path) -> None:
    x, y = pair()
    trained = netdsl.fit(program, validate=(x, y), settings={"train.epochs": 8})
    best = max(row["validation_accuracy"] for row in trained.history)
    scores = trained.net.session(weights=trained.best)(image=x)["output"]
    assert np.mean(scores.argmax(1) == y) == best


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"step_backend": "x"}, "'auto', 'plain' or 'nchwc', not 'x'"),
        ({"lowering": "x"}, "'auto', 'plain' or 'nchwc', not 'x'"),
        ({"step_backend": ""}, "'auto', 'plain' or 'nchwc', not ''"),
        ({"step_backend": ["auto"]}, "'auto', 'plain' or 'nchwc', not an object of type list"),
        ({"step_backend": "plain", "lowering": "blk"}, "pass one of them"),
        ({"threads": 0}, "not 0"),
        ({"resume": True, "force": True}, "one"),
    ],
)
def test_arguments_that_are_none(program: Path, how: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        netdsl.fit(program, **how)


def test_settings_are_a_mapping(program: Path) -> None:
    with pytest.raises(TypeError, match=r"settings is a mapping from names to values, not 'train.lr=1'$"):
        netdsl.fit(program, settings="train.lr=1")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["lr", "seed", "stacklevel", "training"])
def test_unexpected_keywords(program: Path, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'$"):
        netdsl.fit(program, **{name: 1})  # type: ignore[arg-type]


def test_the_former_names_of_step_backends_are_accepted(program: Path) -> None:
    former = netdsl.fit(program, threads=1, lowering="std")
    current = netdsl.fit(program, threads=1, step_backend="plain")
    assert former.history == current.history


def test_the_same_recipe_gives_the_same_bits(program: Path) -> None:
    one, other = (netdsl.fit(program, threads=1, step_backend="plain") for _ in range(2))
    assert one.history == other.history
    assert all((one.weights[name] == other.weights[name]).all() for name in one.weights)
    seed = netdsl.fit(program, threads=1, step_backend="plain", settings={"train.seed": 6})
    assert one.history != seed.history


def test_arrays_in_memory_are_the_same_as_in_a_file(program: Path) -> None:
    from_file = netdsl.fit(program, threads=1, step_backend="plain")
    x, y = pair()
    given = netdsl.fit(program, data=({"image": x}, {"target": y}), threads=1, step_backend="plain")
    assert given.history == from_file.history


def test_batches_of_any_size_are_the_same(program: Path) -> None:
    x, y = pair()
    uneven = [(x[:5], y[:5]), (x[5:25], y[5:25]), (x[25:], y[25:])]
    whole = [(x, y)]
    found = [
        netdsl.fit(program, data=data, threads=1, step_backend="plain", settings={"train.epochs": 2})
        for data in (uneven, whole)
    ]
    assert found[0].history == found[1].history
    assert found[0].history[-1]["step"] == 6


class Items:
    """An iterable that knows how many items it has, all of one size but for the last."""

    def __init__(self, count: int, size: int) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Pair]:
        for at in range(self.count):
            x, y = pair(self.size if at < self.count - 1 or at == 0 else 1)
            yield x, y


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [3, 8, 20])
def test_an_epoch_has_the_batches_that_items_surely_fill(program: Path, count: int, size: int) -> None:
    """The batch is 8; of the last item, which may be smaller, nothing is known before it comes."""
    module = Library(Report()).load(Source(str(program), PROGRAM), "small.net")
    made = recipe(module)
    assert made is not None
    found = given(Items(count, size), made, training=True).steps(8)
    assert found == max(1, max(count - 1, 1) * size // 8)
    listed = given([pair(size)] * count, made, training=True).steps(8)
    assert listed == max(1, count * size // 8)


def test_a_function_of_the_epoch_needs_steps(program: Path) -> None:
    x, y = pair(16)
    seen: list[int] = []

    def source(epoch: int) -> Iterator[Pair]:
        seen.append(epoch)
        yield x, y

    with pytest.raises(BadStream, match="unknown"):
        netdsl.fit(program, data=source)
    trained = netdsl.fit(program, data=source, settings={"train.steps": 5})
    assert trained.history[-1]["step"] == 5
    assert seen[:3] == [0, 1, 2]


def test_data_that_are_none(program: Path) -> None:
    with pytest.raises(BadStream):
        netdsl.fit(program, data=3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([], "no batch of 8 examples"),
        ([pair(5)], "no batch of 8 examples"),
        ([*pair(5)], "item 0 must be a pair (x, y) of arrays, not ndarray"),
        (lambda _: pair(5), "for a single batch, [(x, y)]"),
    ],
)
def test_data_too_few_for_a_batch(program: Path, data: object, said: str) -> None:
    with pytest.raises(UserError) as caught:
        netdsl.fit(program, settings={"train.steps": 2}, data=data)
    assert said in str(caught.value)


class Batches:
    """As a `DataLoader` is: it has a length, and can be gone through again."""

    def __init__(self, *items: Pair) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.items)


def test_all_of_one_item_are_used(program: Path) -> None:
    assert netdsl.fit(program, data=Batches(pair())).history[-1]["step"] == 3 * 3


@pytest.mark.parametrize("end", [{"train.epochs": 1}, {"train.steps": 3}])
def test_a_function_validates(program: Path, end: dict[str, object]) -> None:
    if "train.steps" in end:
        program.write_text(PROGRAM.replace("epochs 3", "steps 3"))
    pairs = [netdsl.fit(program, validate=v, settings=end).history for v in (pair(11), lambda _: [pair(11)])]
    assert pairs[0] == pairs[1]


def test_a_batch_that_lies_otherwise_is_read_whole() -> None:
    """A copy that a step makes of it is there until the step has run."""
    graph = Graph("sum")
    names = ("a", "b", "c", "d")
    for name in names:
        graph.output(f"{name}s", ops.add(graph.input(name, (200, 300)), graph.input(f"{name}0", (1,))))
    runner = Runner(graph, emit(graph).model.SerializeToString(), {})
    rng = np.random.default_rng(0)
    feeds = {name: np.asfortranarray(rng.standard_normal((200, 300)).astype(np.float32)) for name in names}
    runner.step({**feeds, **{f"{name}0": np.zeros(1, np.float32) for name in names}})
    for name in names:
        np.testing.assert_array_equal(runner.result(f"{name}s"), feeds[name])


def test_an_example_that_is_not_finite_is_named(program: Path) -> None:
    x, y = pair()
    x[17] = np.nan
    with pytest.raises(netdsl.UserError, match="17"):
        netdsl.fit(program, data=(x, y))


SCALES = {
    "scale 1/255": [(0, 255, ""), (0, 1, "reads 0 to 0.003922"), (-1, 1, "reads -0.003922 to 0.003922"), (0, 30, "")],
    "normalize mean [128] std [64]": [(0, 255, ""), (0, 1, "reads -2 to -1.984")],
    "": [(0, 1, ""), (0, 255, "`conv1` reads unscaled"), (-3, 3, ""), (0, 1e-3, ""), (99, 99.5, "`conv1` reads")],
}
"""Notes on arrays whose values are from one number to another, by what the net begins with."""


@pytest.mark.parametrize("begins", SCALES)
def test_arrays_that_are_not_scaled_as_the_net_expects_are_told(begins: str) -> None:
    net = netdsl.parse(f"net n {{ input image 1x6x6; {begins}; conv 3x3 2; relu; dense 4 }}".replace("; ;", ";"))
    x, y = pair()
    x = (x - x.min()) / (x.max() - x.min())
    for low, high, note in SCALES[begins]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            net.fit(low + x * (high - low), y, loss="cross_entropy", epochs=1, step_backend="plain")
        told = " ".join(str(each.message) for each in caught)
        assert note in told, (low, high)
        assert ("has values from" in told) is bool(note), (low, high)


def test_columns_of_a_table_may_be_large() -> None:
    net = netdsl.parse("net n { input x 3; dense 4 }")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.fit(
            np.linspace(0, 1e3, 96, dtype=np.float32).reshape(32, 3),
            np.arange(32) % 4,
            loss="cross_entropy",
            epochs=1,
            lr=1e-9,
        )


def test_a_loss_that_is_no_number_is_an_exception(program: Path) -> None:
    with pytest.raises(Diverged, match="step"):
        netdsl.fit(program, settings={"train.lr": 1e30, "train.epochs": 50})


def test_a_run_in_a_folder_goes_on(program: Path) -> None:
    how = {"threads": 1, "step_backend": "plain"}
    whole = netdsl.fit(program, out=program.parent / "whole", **how)
    netdsl.fit(program, out=program.parent / "parts", settings={"train.epochs": 1}, **how)
    parts = netdsl.fit(program, out=program.parent / "parts", resume=True, **how)
    assert [row["epoch"] for row in parts.history] == [2, 3]
    assert parts.history == whole.history[1:]
    assert (program.parent / "parts" / "metrics.csv").read_bytes() == (
        program.parent / "whole" / "metrics.csv"
    ).read_bytes()


@pytest.mark.parametrize("seconds", [0.0, 1e9])
def test_batches_come_in_order_and_errors_in_their_place(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """With a thread, and without."""
    monkeypatch.setattr(reading, "MIN_PREFETCH_SECONDS", seconds)
    closed = []

    def numbers(count: int) -> Iterator[int]:
        try:
            yield from range(count)
            if count == 50:
                raise OSError("the disk is gone")
        finally:
            closed.append(count)

    for count in (0, 1, 5, 40):
        with prefetched(numbers(count)) as found:  # type: ignore[arg-type]
            assert list(found) == list(range(count))
    with pytest.raises(OSError, match="gone"), prefetched(numbers(50)) as found:  # type: ignore[arg-type]
        list(found)
    with prefetched(numbers(1000)) as found:  # type: ignore[arg-type]
        assert [next(found) for _ in range(30)] == list(range(30))
    assert closed == [0, 1, 5, 40, 50, 1000]
    assert not [thread for thread in threading.enumerate() if thread.name == "netdsl batches"]


def test_a_confusion_matrix_of_few_and_of_many_classes() -> None:
    few = np.array([[5, 1], [0, 4]])
    assert list(confusion_lines(few, ["cat", "dog"]))[2].split() == ["cat", "5", "1"]
    assert b">cat<" in draw_confusion("pets", few, ["cat", "dog"]).svg()
    many = np.eye(50, dtype=int) * 9
    assert list(confusion_lines(many, [f"c{k}" for k in range(50)])) == []


@pytest.mark.parametrize(
    ("lines", "reached"),
    [
        ({"schedule": "constant warmup_steps 9", "epochs": 3}, False),
        ({"schedule": "constant warmup_steps 8", "epochs": 3}, True),
        ({"schedule": "constant warmup 3", "steps": 9}, False),
        ({"schedule": "constant warmup 2.5", "steps": 9}, True),
    ],
)
def test_a_warm_up_longer_than_the_training_is_reported(lines: dict[str, object], reached: bool) -> None:
    x, y = np.random.default_rng(0).standard_normal((12, 2)).astype("f4"), np.arange(12) % 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = netdsl.parse("net n { input x 2; dense 2 }").fit(x, y, loss="cross_entropy", batch=4, lr=0.5, **lines)
    told = [str(each.message).partition(": ")[2] for each in caught]
    wanted = "the warm-up takes 9 steps, but training ends after 9, 3 per epoch: the learning rate does not reach 0.5"
    assert told == ([] if reached else [wanted])
    assert (found.history[-1]["rate"] == 0.5) == reached
