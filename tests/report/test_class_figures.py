"""Precision, recall and support of each class, and confusions, held against scikit-learn's formulas in NumPy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from netdsl.report.class_figures import class_figures, class_lines, confusion_pairs, confusions
from netdsl.report.confusion import confusion_lines
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]


def matrix(true: Any, predicted: Any, classes: int) -> Any:
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (true, predicted), 1)
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    """Precision is tp / (tp + fp) and recall tp / (tp + fn), over the examples themselves; undefined is None."""
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, 6, 40), rng.integers(2, 9, 40)
    found = class_figures(matrix(true, predicted, 10), [f"c{number}" for number in range(10)])
    assert [(each.number, each.name) for each in found] == [(number, f"c{number}") for number in range(10)]
    for each in found:
        hits = int(((true == each.number) & (predicted == each.number)).sum())
        chosen, there = int((predicted == each.number).sum()), int((true == each.number).sum())
        assert each.precision == (hits / chosen if chosen else None)
        assert each.recall == (hits / there if there else None)
        assert each.support == there
    pairs = [(t, p) for t, p in zip(true.tolist(), predicted.tolist(), strict=True) if t != p]
    wanted = sorted({(t, p, pairs.count((t, p))) for t, p in pairs}, key=lambda each: (-each[2], each[:2]))
    assert [tuple(each) for each in confusions(matrix(true, predicted, 10))] == wanted


def test_few_classes_are_a_table_in_their_order() -> None:
    counts = np.array([[1234, 6, 0, 0], [1, 9, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]])
    names = ["cat", "a\x1b[31m", "犬", "none"]
    assert list(class_lines(class_figures(counts, names))) == [
        "class      precision  recall  support",
        "cat           99.8 %  99.5 %    1,240",
        "a\\x1b[31m     60.0 %  90.0 %       10",
        "犬                 –   0.0 %        2",
        "none               –       –        0",
    ]
    assert list(confusion_lines(counts, names)) == [
        "rows: true class, columns: predicted class",
        "            cat  a\\x1b[31m  犬  none",
        "      cat  1234          6   .     .",
        "a\\x1b[31m     1          9   .     .",
        "       犬     2          .   .     .",
        "     none     .          .   .     .",
    ]
    assert list(confusion_pairs(confusions(counts), names)) == [
        "most frequent confusions",
        "      6  cat predicted as a\\x1b[31m",
        "      2  犬 predicted as cat",
        "      1  a\\x1b[31m predicted as cat",
    ]


def test_of_many_classes_the_worst_are_shown() -> None:
    counts = np.eye(1000, dtype=np.int64) * 10
    for at in range(30):
        counts[at * 7, at * 7 + 1] = 30 - at
    counts[999, 999] = 0
    names = [str(number) for number in range(1000)]
    lines = list(class_lines(class_figures(counts, names)))
    assert lines[0] == "classes with the lowest recall, 20 of 1,000"
    assert [line.split()[0] for line in lines[2:-1]] == [str(at * 7) for at in range(20)]
    assert lines[2].split() == ["0", "100.0", "%", "25.0", "%", "40"]
    assert lines[-1] == "and 980 others, 1 of them without examples"
    pairs = list(confusion_pairs(confusions(counts), names))
    assert pairs[0] == "most frequent confusions, 10 of 30"
    assert len(pairs) == 11
    few = list(class_lines(class_figures(np.diag([1, 0] + [0] * 28), [str(number) for number in range(30)])))
    assert (few[0], few[-1]) == (
        "classes with the lowest recall, 1 of 30",
        "and 29 others, 29 of them without examples",
    )


def test_nothing_is_confused() -> None:
    assert confusions(np.eye(3, dtype=np.int64)) == []
    assert list(confusion_pairs([], ["a", "b", "c"])) == []


@pytest.mark.parametrize("named", [True, False])
def test_eval_prints_them(netdsl: Commands, named: bool) -> None:
    """The net's scores are its inputs, so that the examples say what is predicted."""
    netdsl.write(
        n="net n { input x 3; dense 3 }\ntrain n { data csv 't.csv' target 'kind'; loss cross_entropy }".replace(
            "'", '"'
        )
    )
    words = ["ash", "elm", "oak"] if named else ["0", "1", "2"]
    true, predicted = [0, 0, 0, 1, 1], [0, 0, 1, 0, 1]
    rows = ["a,b,c,kind"]
    for at, best in zip(true, predicted, strict=True):
        rows.append(",".join([*(str(int(at == best)) for at in range(3)), words[at]]))
    (netdsl.folder / "v.csv").write_text("\n".join(rows))
    (netdsl.folder / "t.csv").write_text("\n".join(["a,b,c,kind", *(f"0,0,0,{word}" for word in words)]))
    np.savez("w.npz", **{"dense1.weight": np.eye(3, dtype=np.float32), "dense1.bias": np.zeros(3, np.float32)})
    command = ("eval", "n.net", "--weights", "w.npz", "--data", 'csv "v.csv" target "kind"')
    ran = netdsl(*command)
    assert ran.code == 0, ran
    a, b, c = words
    width = max(5, len(a))
    assert ran.out.split("\n\n")[1:] == [
        f"{'class':<{width}}  precision  recall  support\n{a:<{width}}     66.7 %  66.7 %        3\n"
        f"{b:<{width}}     50.0 %  50.0 %        2\n{c:<{width}}          –       –        0",
        ran.out.split("\n\n")[2],
        f"most frequent confusions\n      1  {a} predicted as {b}\n      1  {b} predicted as {a}\n",
    ]
    assert ran.out.split("\n\n")[2].startswith("rows: true class, columns: predicted class\n")
    found = json.loads(netdsl(*command, "--json").out)
    assert found["per_class"]["output"] == [
        {"class": 0, **({"label": a} if named else {}), "precision": 2 / 3, "recall": 2 / 3, "support": 3},
        {"class": 1, **({"label": b} if named else {}), "precision": 0.5, "recall": 0.5, "support": 2},
        {"class": 2, **({"label": c} if named else {}), "precision": None, "recall": None, "support": 0},
    ]
    assert found["confused"]["output"] == [
        {"true": 0, "predicted": 1, "examples": 1},
        {"true": 1, "predicted": 0, "examples": 1},
    ]


@pytest.mark.parametrize("loss", ["mean", "mse"])
def test_a_model_that_was_not_trained_to_classify_is_not_evaluated_as_a_classifier(netdsl: Commands, loss: str) -> None:
    np.savez("d.npz", x=np.ones((4, 2), np.float32), **({} if loss == "mean" else {"y": np.ones((4, 3), np.float32)}))
    train = f'train n {{ data npz "d.npz"; loss {loss}; optimizer sgd lr 0.1; batch 2; epochs 1 }}'
    netdsl.write(n=f"net n {{ input x 2; dense 3 }}\n{train}\n")
    assert netdsl("train", "n.net", "-q").code == 0
    np.savez("c.npz", x=np.ones((4, 2), np.float32), y=np.array([0, 1, 2, 0]))
    done = netdsl("eval", "runs/n/best.onnx", "--data", "c.npz")
    assert (done.code, done.out) == (1, "")
    assert f"it was trained with the loss `{loss}`" in done.err
