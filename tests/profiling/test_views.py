"""The views of a profile, its text and its data, from costs that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.etree import ElementTree

import pytest

import netdsl
from netdsl.base.text import Source
from netdsl.profiling.profile import Cost, Peaks, Place, Profile
from netdsl.profiling.roofline import roofline
from netdsl.profiling.text import profile_csv, profile_data, profile_markdown, profile_text, time_text
from netdsl.profiling.views import BETWEEN, UNKNOWN, VIEWS, Row, folded, rows

TEXT = """block unit {
  conv 3x3 8; bn; relu
}
net pair {
  input image 3x8x8

  for i in range(2) { stage{i}: unit }
  global_avgpool
  dense 2
}
"""


def place(layer: str, kind: str, line: int, column: int, block: str = "", *shape: int) -> Place:
    return Place(layer, kind, "pair.net", line, column, block, shape)


FIRST, SECOND = (place(f"stage{i}.conv1", "conv", 2, 3, "unit", 8, 8, 8) for i in (0, 1))
POOL, DENSE = place("global_avgpool1", "global_avgpool", 8, 3, "", 8, 1, 1), place("dense1", "dense", 9, 3, "", 2)
RELU = place("stage1.relu1", "relu", 2, 19, "unit", 8, 8, 8)


def cost(place: Place | None, op: str, seconds: float, flops: float | None = 0.0, **more: object) -> Cost:
    return Cost(place=place, name=f"{place.layer if place else op}_nchwc", op=op, seconds=seconds, flops=flops, **more)


COSTS = (
    cost(FIRST, "Conv", 0.030, 3e8, moved=6_000_000),
    cost(SECOND, "Conv", 0.040, 4e8, moved=4_000_000, joined=[RELU, POOL]),
    cost(SECOND, "ReorderOutput", 0.002, moved=1_000_000, layout=True),
    cost(DENSE, "Gemm", 0.016, 1e6, moved=2_000_000),
    cost(None, "Mystery", 0.004, None),
)


def profile(costs: Sequence[Cost] = COSTS, **changes: object) -> Profile:
    given = {
        "name": "pair",
        "batch": 8,
        "threads": 2,
        "provider": "cpu",
        "runs": 5,
        "seconds": 0.2,
        "between": 0.008,
        "costs": costs,
        "sources": {"pair.net": Source("pair.net", TEXT)},
        "peaks": Peaks(2e10, 5e9),
        "memory": 12_000_000,
        **changes,
    }
    return Profile(**given)


ANNOTATED = """\
pair, batch 8, 2 threads: 200 ms a run
median of 5 runs; memory copied at 5.00 GB/s; peak memory 12.0 MB without weights

  ms     %  GFLOP/s    MB
                           │ pair.net
                           │   1 block unit {
 144  72.0     4.86  11.0  │   2   conv 3x3 8; bn; relu                  2×  8x8x8  + global_avgpool
                           │   3 }
                           │   …
                           │   7   for i in range(2) { stage{i}: unit }
                           │   8   global_avgpool                                   in line 2
32.0  16.0     0.03  2.00  │   9   dense 2                                   2
                           │  10 }
8.00   4.0                 │     unknown
16.0   8.0                 │     between operators

by kind: conv 72.0 %, dense 16.0 %
by block: unit 72.0 %, the net itself 16.0 %
by operator: Conv 70.0 %, Gemm 16.0 %, Mystery 4.0 %, ReorderOutput 2.0 %
changes of the layout, in the lines that need them: 2.0 %"""


def test_the_text_is_the_source_with_its_costs() -> None:
    assert profile_text(profile()) == ANNOTATED


def test_the_title_has_the_speed_if_all_operations_are_known() -> None:
    title = "pair, batch 8, 2 threads: 200 ms a run, 3.50 GFLOP/s of 20.0 measured here"
    assert profile_text(profile(COSTS[:-1])).splitlines()[0] == title


@pytest.mark.parametrize("by", VIEWS)
def test_all_time_is_in_rows_and_between_them(by: str) -> None:
    shown = profile()
    found = rows(shown, by)
    assert sum(row.seconds for row in found) + shown.between * shown.scale == pytest.approx(shown.seconds)
    assert sum(row.share for row in found) + shown.between / shown.profiled == pytest.approx(1)
    assert [row.seconds for row in found[:-1]] == sorted((row.seconds for row in found[:-1]), reverse=True)


NAMES = {
    "line": ["pair.net:2", "pair.net:9", UNKNOWN],
    "block": ["unit", "the net itself", UNKNOWN],
    "call": ["stage1 unit", "stage0 unit", "the net itself", UNKNOWN],
    "repeat": ["stage1 unit", "stage0 unit", "the net itself", UNKNOWN],
    "layer": ["stage1.conv1", "stage0.conv1", "dense1", UNKNOWN],
    "kind": ["conv", "dense", UNKNOWN],
    "op": ["Conv", "Gemm", "Mystery", "ReorderOutput"],
    "phase": ["forward", UNKNOWN],
}


@pytest.mark.parametrize("by", VIEWS)
def test_rows_have_names(by: str) -> None:
    assert [row.name for row in rows(profile(), by)] == NAMES[by]


def line(number: int) -> Row:
    return next(row for row in rows(profile(), "line") if row.name == f"pair.net:{number}")


def test_a_line_counts_its_layers_and_names_those_of_others() -> None:
    row = line(2)
    assert (row.count, row.joined, row.moved) == (2, ["global_avgpool"], 11_000_000)
    assert row.seconds == pytest.approx(0.072 * 2)
    assert row.flops == 7e8
    assert row.rate == pytest.approx(7e8 / 0.144)


def test_a_line_with_two_layers_that_runs_three_times_counts_three() -> None:
    costs = [
        cost(place(f"unit{i}.{kind}1", kind, 2, at), kind, 0.1)
        for i in range(3)
        for at, kind in ((3, "conv"), (9, "relu"))
    ]
    (row,) = rows(profile(costs), "line")
    assert row.count == 3


def test_operations_that_are_unknown_are_not_counted_as_none() -> None:
    assert profile().flops is None
    assert rows(profile(), "line")[-1].flops is None
    assert profile(COSTS[:-1]).flops == 7.01e8


def test_data_are_json_with_the_rows() -> None:
    data = json.loads(json.dumps(profile_data(profile(), "kind", 1)))
    assert [row["name"] for row in data["rows"]] == ["conv"]
    assert data["rows"][0]["share"] == pytest.approx(0.72)
    assert data["layout_seconds"] == pytest.approx(0.004)
    assert data["unknown_seconds"] == pytest.approx(0.008)
    assert (data["flops"], data["peak_flops_per_second"]) == (None, 2e10)


def test_tables_have_a_row_each() -> None:
    assert [row.split(",")[0] for row in profile_csv(profile(), "layer").splitlines()[1:]] == NAMES["layer"]
    assert len(profile_markdown(profile(), "layer").splitlines()) == 4 + 2 + 4 + 1


def test_phases_are_columns() -> None:
    costs = [cost(DENSE, "Gemm", 0.05, phase="forward"), cost(DENSE, "Gemm", 0.14, phase="backward")]
    head, row, *_ = profile_text(profile(costs, between=0.01), "layer").splitlines()[3:]
    assert head.split() == ["ms", "%", "forward", "backward", "GFLOP/s", "MB", "layer"]
    assert row.split()[:4] == ["190", "95.0", "50.0", "140"]


def test_stacks_are_folded() -> None:
    assert folded(profile()).splitlines() == [
        *("pair;stage0;conv1 60000", "pair;stage1;conv1 84000", "pair;dense1 32000", f"pair;{UNKNOWN} 8000"),
        f"pair;{BETWEEN} 16000",
    ]


def test_launches_are_told_and_have_no_speed() -> None:
    text = profile_text(profile(provider="cuda", launches=True, peaks=None), "layer")
    assert "launches" in text
    assert "GFLOP/s of" not in text


@pytest.mark.parametrize(("peak", "count"), [(2e10, 0), (4.9e9, 0), (4.7e9, 1), (1e9, 1)])
def test_an_operator_faster_than_the_peak_is_told(peak: float, count: int) -> None:
    shown = profile(peaks=Peaks(peak, 1e10))
    assert profile_text(shown).count("faster than the measured peak") == count
    assert len(profile_data(shown)["warnings"]) == len(shown.warnings) + count  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"peaks": None}, {"costs": ()}, {"costs": COSTS[-1:]}])
@pytest.mark.parametrize("by", ["line", "layer"])
def test_a_picture_has_a_bar_for_each_row(by: str, changes: dict[str, object]) -> None:
    shown = profile(**changes)
    svg = ElementTree.fromstring(roofline(shown, by).svg())
    bars = [rect for rect in svg.iter("{http://www.w3.org/2000/svg}rect") if rect.get("x")]
    assert len(bars) == len(rows(shown, by)) + 1
    circles = len([*svg.iter("{http://www.w3.org/2000/svg}circle")])
    assert circles == (sum(bool(row.rate) for row in rows(shown, by)) if shown.peaks else 0)


TIMES = {2.345: "2.35 s", 0.0982: "98.2 ms", 0.1234: "123 ms", 0.00012: "0.12 ms", 5.8e-5: "58.0 µs", 234.0: "234 s"}


@pytest.mark.parametrize("seconds", TIMES)
def test_times_have_three_digits(seconds: float) -> None:
    assert time_text(seconds) == TIMES[seconds]


def test_the_net_of_these_costs_is_one() -> None:
    net = netdsl.parse(TEXT)
    assert {each.layer for each in (FIRST, SECOND, POOL, DENSE, RELU)} <= {layer.name for layer in net.layers}
