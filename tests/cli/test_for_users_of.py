"""The pages for users of PyTorch and Keras: each row of their tables.

`NETDSL_TORCH_PYTHON=/path/to/python pytest -m slow tests/cli/test_for_users_of.py` compares the two columns, by a
Python that has PyTorch and Keras.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import netdsl
from tests.support.paths import ROOT, TESTS

ROW = re.compile(r"^\| `(.+?)` \| `(.+?)` \| ([\dx]+)( dtype i64)? \|$", re.MULTILINE)
LINE = re.compile(r"^\| `(.+?)` \| `((?:loss|optimizer|schedule|stop|metric) .+?)` \|$", re.MULTILINE)


class Row(NamedTuple):
    """A row of a table: the expression of the framework, the layers of netdsl, and the input of both."""

    section: str
    expression: str
    layers: str
    shape: str
    dtype: str

    @property
    def text(self) -> str:
        return f"net row {{ input x {self.shape}{self.dtype}; {self.layers} }}"


def page(framework: str) -> dict[str, str]:
    """Return the sections of a page by their titles."""
    text = (ROOT / f"docs/for_{framework}_users.md").read_text(encoding="utf-8")
    return {part.partition("\n")[0]: part for part in text.split("\n## ")[1:]}


FRAMEWORKS = ("pytorch", "keras")
ROWS = [
    pytest.param(framework, Row(title, *found), id=found[0])
    for framework in FRAMEWORKS
    for title, section in page(framework).items()
    for found in ROW.findall(section)
]
LINES = [line for framework in FRAMEWORKS for _, line in LINE.findall(page(framework)["Training"])]


@pytest.mark.parametrize("line", LINES)
def test_lines_of_training_are_lines_of_a_train_block(line: str) -> None:
    lines = {"data": 'data npz "d.npz"', "loss": "loss cross_entropy", "optimizer": "optimizer sgd lr 0.1"}
    lines["epochs"] = "epochs 30"
    lines["validate"] = "validate 0.1"
    lines[line.split()[0]] = line
    assert not netdsl.check(f"net n {{ input x 4; dense 3 }}\ntrain n {{ {'; '.join(lines.values())} }}")


@pytest.mark.filterwarnings("ignore::netdsl.NetWarning")
@pytest.mark.parametrize("row", [pytest.param(each.values[1], id=each.id) for each in ROWS])
def test_layers_are_those_of_a_net(row: Row) -> None:
    assert netdsl.parse(row.text).outputs


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::netdsl.NetWarning")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_both_columns_compute_the_same(framework: str, tmp_path: Path) -> None:
    python = os.environ.get("NETDSL_TORCH_PYTHON")
    if not python:
        pytest.skip("NETDSL_TORCH_PYTHON is not set")
    rows = [each.values[1] for each in ROWS if each.values[0] == framework]
    asked = []
    for number, row in enumerate(rows):
        (tmp_path / str(number)).mkdir()
        about = {"expression": row.expression, "shape": [*map(int, row.shape.split("x"))], "words": bool(row.dtype)}
        asked.append(json.dumps({**about, "last": row.section == "Sequences", "folder": str(tmp_path / str(number))}))
    script = TESTS / "support/framework_rows.py"
    name = "torch" if framework == "pytorch" else framework
    ran = subprocess.run(
        [python, str(script), name],
        input="\n".join(asked),
        env={**os.environ, "KERAS_BACKEND": "torch"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.split("\n")[:-1] == ["done"] * len(rows)
    for number, row in enumerate(rows):
        folder = tmp_path / str(number)
        run = np.load(folder / "run.npz")
        weights = next(folder.glob("weights.*"), None)
        net = netdsl.parse(row.text)
        options = {"weights": weights, "match": "order"} if weights and len(net.parameters) else {}
        (found,) = net.session(**options)(run["x"]).values()
        np.testing.assert_allclose(found.reshape(run["y"].shape), run["y"], atol=2e-5, rtol=1e-5, err_msg=str(row))
