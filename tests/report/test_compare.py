"""Nets side by side: the figures are those of the world, CSV and JSON say the same, and the pictures keep what is
promised: a circle for each net that can be drawn, areas in proportion to the weights, and no text over another one."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageFont

from netdsl.base.limits import WORK
from netdsl.diagnostics.report import NET
from netdsl.elaborate.library import zoo_nets
from netdsl.report.comparison_labels import CircleLabel, _cross, _cuts, place_labels
from netdsl.report.theme import DARK
from tests.support.cli_tools import ROOT, Commands, netdsl, spawn
from tests.support.reference import COUNTS, OURS

__all__ = ["netdsl"]

SVG = "{http://www.w3.org/2000/svg}"
PICTURES = {"macs": ROOT / "docs" / "compare.svg", "year": ROOT / "docs" / "depth.svg"}

FIELDS = {
    "alexnet": 195,
    "vgg16": 212,
    "resnet50_caffe": 483,
    "resnet101_caffe": 1027,
    "resnet152_caffe": 1507,
}
"""Before the last pooling: Araujo, Norris & Sim (2019), "Computing receptive fields of convolutional neural networks",
table 1 (there `alexnet_v2`, `vgg_16`, `resnet_v1_50`, `resnet_v1_101`, `resnet_v1_152`)."""

OTHERWISE = {"googlenet_aux", "inception_v3_aux", "bvlc_googlenet_aux_train", "lenet5_1998_paper"}
"""Counted with heads that inference leaves out, or without what the paper does not count."""

DEPTHS = {"alexnet": 8, "zfnet": 8, "vgg16": 16, "vgg19": 19, "googlenet": 22, "resnet152": 152, "densenet121": 121}

SMALL = """net {name}(n in [2, 3] = 2) {{
  about {{ year 2001; top1 {error}; protocol "X test" }}
  input x n
  dense 2
}}
"""


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, dict[str, Any]], dict[str, bytes]]:
    """What `netdsl compare --format json` says of the zoo, and its pictures by operations and by year."""
    folder = tmp_path_factory.mktemp("drawn")
    for by in PICTURES:
        done = spawn("compare", "--format", "json", "--plot", folder / f"{by}.svg", "--by", by, cwd=ROOT)
        assert done.returncode == 0
    rows = {row["net"]: row for row in json.loads(done.stdout)}
    return rows, {by: (folder / f"{by}.svg").read_bytes() for by in PICTURES}


@pytest.fixture(scope="module")
def rows(zoo: tuple[dict[str, dict[str, Any]], dict[str, bytes]]) -> dict[str, dict[str, Any]]:
    return zoo[0]


@pytest.fixture(scope="module")
def pictures(zoo: tuple[dict[str, dict[str, Any]], dict[str, bytes]]) -> dict[str, bytes]:
    return zoo[1]


@pytest.mark.parametrize(
    "theirs", [name for name in COUNTS if OURS.get(name, name) in zoo_nets() and name not in OTHERWISE]
)
def test_counts_are_the_worlds(theirs: str, rows: dict[str, Any]) -> None:
    row = rows[OURS.get(theirs, theirs)]
    assert {key: row[key] for key in ("params", "macs")} == COUNTS[theirs]


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields_are_the_literatures(name: str, rows: dict[str, Any]) -> None:
    assert rows[name]["receptive_field"] == FIELDS[name]


@pytest.mark.parametrize("name", DEPTHS)
def test_depths_are_the_papers(name: str, rows: dict[str, Any]) -> None:
    assert rows[name]["depth"] == DEPTHS[name]


def test_the_zoo_is_whole_and_each_net_there_once(rows: dict[str, Any]) -> None:
    """Of equal nets (`resnet`, `resnet50`) one row is left, that of the name that says more."""
    assert rows.keys() <= zoo_nets().keys()
    assert {zoo_nets()[name] for name in rows} == set(zoo_nets().values())
    assert {"resnet18", "resnet50", "plain34", "vgg16_bn", "efficientnet_b0", "squeezenet1_0"} <= rows.keys()
    assert not {"resnet", "vgg", "efficientnet", "squeezenet", "densenet"} & rows.keys()


def test_errors_are_those_of_about(rows: dict[str, Any]) -> None:
    told = {key: rows["resnet34"][key] for key in ("year", "top1", "top5", "protocol")}
    assert told == {"year": 2015, "top1": 24.52, "top5": 7.46, "protocol": "ImageNet val, 10 crops"}
    assert (rows["alphago_zero"]["top1"], rows["alphago_zero"]["protocol"]) == (None, None)


def test_the_oldest_come_first_and_a_files_nets_by_cost(rows: dict[str, Any]) -> None:
    years = [row["year"] for row in rows.values()]
    assert years == sorted(years)
    vgg = [row["macs"] for row in rows.values() if row["file"] == "zoo/vgg.net"]
    assert len(vgg) == 8
    assert vgg == sorted(vgg)


def test_csv_and_text_say_the_same(netdsl: Commands) -> None:
    words = ("compare", "alexnet", "googlenet", "neocognitron", "plain20")
    wanted = json.loads(netdsl(*words, "--format", "json").out)
    ran = netdsl(*words, "--format", "csv")
    assert (ran.code, ran.err) == (0, "")
    found = list(csv.DictReader(io.StringIO(ran.out)))
    assert [row["net"] for row in found] == ["neocognitron", "alexnet", "googlenet", "plain20"]
    assert found == [{key: "" if value is None else str(value) for key, value in row.items()} for row in wanted]
    head, *lines = netdsl(*words).out.splitlines()
    assert head.split() == ["net", "year", "depth", "weights", "MACs", "memory", "field", "top-1", "top-5", "protocol"]
    assert lines[1].split()[:7] == ["alexnet", "2012", "8", "60,965,224", "724,406,816", "2,323,200", "195"]
    assert lines[1].endswith("  40.70  18.20  ImageNet val, 10 crops")
    assert len(lines) == 4


def names(ran: Any) -> list[str]:
    assert (ran.code, ran.err) == (0, "")
    return [row["net"] for row in json.loads(ran.out)]


def test_a_star_is_each_value_of_the_domains(netdsl: Commands) -> None:
    found = names(netdsl("compare", "resnet:*", "--format", "json"))
    assert found == ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
    assert names(netdsl("compare", "alexnet:*", "--format", "json")) == ["alexnet"]
    assert names(netdsl("compare", "resnext:*", "--format", "json")) == ["resnext50_32x4d", "resnext(depth = 101)"]


def test_each_value_of_a_domain_counts_as_work(netdsl: Commands) -> None:
    """Equal nets are elaborated once, so the values alone exceed the budget."""
    for count, code in ((20_000, 0), (WORK // NET + 1, 1)):
        netdsl.write(a=f"net a(n in [1] * {count} = 1) {{ input x 4; dense n }}")
        ran = netdsl("compare", "a.net:*")
        assert (ran.code, "steps of work exceed the limit" in ran.err) == (code, bool(code)), ran.err


def test_a_star_behind_a_file_is_all_its_nets(netdsl: Commands) -> None:
    netdsl.write(a=SMALL.format(name="one", error=1) + SMALL.format(name="two", error=2) + "net three = one(n = 3)\n")
    found = names(netdsl("compare", "a.net:*", "lenet5", "--format", "json"))
    assert found == ["lenet5", "one", "two", "three", "two(n = 3)"]
    assert names(netdsl("compare", "a.net:two", "--format", "json")) == ["two"]


def test_a_mistake_in_an_unused_value_is_reported(netdsl: Commands) -> None:
    netdsl.write(a="let size = 1 / 0\nnet a { input x 4 }\n")
    ran = netdsl("compare", "a.net:*")
    assert (ran.code, ran.out, "E0409" in ran.err) == (1, "", True)


def test_what_is_asked_for_twice_is_there_once_and_what_is_not_known_is_empty(netdsl: Commands) -> None:
    Path("e.net").write_text("net e { input x 4 }")
    assert netdsl("compare", "e.net", "e.net:*", "e.net", "--format", "csv").out.splitlines()[1:] == [
        "e,e.net,,0,0,0,16,,,,"
    ]
    assert netdsl("compare", "e.net").out.splitlines()[1].split() == ["e", "0", "0", "0", "16"]


def test_memory_is_for_the_batch(netdsl: Commands) -> None:
    one, many = (
        json.loads(netdsl("compare", "lenet5", *batch, "--format", "json").out) for batch in ([], ["--batch", 7])
    )
    assert many[0]["peak_bytes"] == 7 * one[0]["peak_bytes"]
    assert many[0]["macs"] == one[0]["macs"]


def test_sizes_known_at_run_time_are_formulas(netdsl: Commands) -> None:
    netdsl.write(a="net a {\n  input x 3x?x?\n  conv 3x3 8\n}\n")
    (row,) = json.loads(netdsl("compare", "a.net", "--format", "json").out)
    assert (row["macs"], row["params"], row["receptive_field"]) == ("216*x_1*x_2", 224, 3)
    assert "216*x_1*x_2" in netdsl("compare", "a.net").out
    assert "error[E0637]" in netdsl("compare", "a.net", "--plot", "a.svg").err


def test_what_about_says_amiss_is_not_told(netdsl: Commands) -> None:
    netdsl.write(a='net a {\n  about { year "new"; top1 [1, 2]; top5 (-3); protocol 7 }\n  input x 3\n  dense 2\n}\n')
    (row,) = json.loads(netdsl("compare", "a.net", "--format", "json").out)
    assert [row[key] for key in ("year", "top1", "top5", "protocol")] == [None] * 4


@pytest.mark.parametrize("star", ["", ":*"])
def test_a_net_with_errors_is_told_and_nothing_is_drawn(star: str, netdsl: Commands) -> None:
    netdsl.write(a="net a {\n  input x 3\n  desne 2\n}\n")
    ran = netdsl("compare", "lenet5", f"a.net{star}", "--plot", "out.svg")
    assert (ran.code, ran.out) == (1, "")
    assert "error[E0202]: unknown layer or block `desne`" in ran.err
    assert "did you mean `dense`?" in ran.err
    assert not Path("out.svg").exists()


WRONG = {
    "resnet51": "error[E0601]",
    "resnet51:*": "error[E0601]",
    "nowhere.net:*": "error[E0601]",
    "lenet5 --by year": "--by needs --plot OUT.svg",
    "lenet5 --theme dark": "--theme needs --plot OUT.svg",
    "lenet5 --plot lenet5.jpg": "error[E0643]",
    "lenet5 --plot lenet5.svg --theme plain": "--theme",
    "a.net:none --plot a.svg": "error[E0637]: no net can be drawn (none: without MACs)",
    "a.net:a --plot a.svg --by year": "error[E0637]: no net can be drawn (a: without a year)",
    "a.net:a --plot a.net": "error[E0643]",
}


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage(line: str, netdsl: Commands) -> None:
    netdsl.write(a="net a {\n  input x 3\n  dense 2\n}\nnet none { input x 3 }")
    ran = netdsl("compare", *line.split())
    assert (ran.code, ran.out) == (2, "")
    assert WRONG[line] in ran.err
    assert [path.name for path in Path().iterdir()] == ["a.net"]


class Drawn:
    """What a picture shows: circles of nets with what they tell, and each text with its box."""

    def __init__(self, svg: bytes) -> None:
        root = ElementTree.fromstring(svg)
        self.circles: dict[str, tuple[float, float, float]] = {}
        for group in root.iter(f"{SVG}g"):
            (circle,) = group.iter(f"{SVG}circle")
            told = group.findtext(f"{SVG}title") or ""
            self.circles[told] = tuple(float(circle.get(key, "")) for key in ("cx", "cy", "r"))  # type: ignore[assignment]
        self.texts = [(text.text or "", _box(text)) for text in root.iter(f"{SVG}text")]
        self.size = float(root.get("width", "")), float(root.get("height", ""))

    def of(self, name: str) -> tuple[float, float, float]:
        (found,) = (place_labels for told, place_labels in self.circles.items() if told.startswith(f"{name},"))
        return found

    @property
    def weights(self) -> dict[str, int]:
        return {told: int(re.search(r"([\d,]+) weights", told)[1].replace(",", "")) for told in self.circles}  # type: ignore[index]


def _box(text: ElementTree.Element) -> tuple[float, float, float, float]:
    """Where a text lies, as Pillow's font has it: left, top, right and bottom of its letters."""
    size = int(text.get("font-size", ""))
    wide = ImageFont.load_default(size).getlength(text.text or "")
    x, y = float(text.get("x", "")), float(text.get("y", ""))
    left = x - {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor", "")] * wide
    return left, y - 0.75 * size, left + wide, y + 0.2 * size


def overlapping(drawn: Drawn) -> list[tuple[str, str]]:
    found = []
    for (one, a), (two, b) in combinations(drawn.texts, 2):
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
            found.append((one, two))
    return found


@pytest.mark.parametrize("by", PICTURES)
def test_the_pages_pictures_are_fresh(by: str, pictures: dict[str, bytes], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PICTURES[by].write_bytes(pictures[by])
    assert PICTURES[by].read_bytes() == pictures[by], (
        "draw it anew with `pytest tests/report/test_compare.py --update-golden`"
    )


@pytest.mark.parametrize("by", PICTURES)
def test_no_text_covers_another_or_leaves_the_picture(by: str, pictures: dict[str, bytes]) -> None:
    drawn = Drawn(pictures[by])
    assert overlapping(drawn) == []
    for text, (left, top, right, low) in drawn.texts:
        assert left >= 0 and top >= 0 and right <= drawn.size[0] and low <= drawn.size[1], text  # noqa: PT018


@pytest.mark.parametrize("by", PICTURES)
def test_long_names_and_many_protocols_have_room_and_colors(by: str, netdsl: Commands) -> None:
    names = [f"{'long' * 9}{k}" for k in range(12)]
    nets = [
        f'net {name} {{ about {{ year {2000 + k % 3}; top1 {20 + k}; protocol "{"Set" * 60}, {k} crops {"more " * 40}"'
        f" }}\n input x {8 * (k + 1)}\n dense 5 }}\n"
        for k, name in enumerate(names)
    ]
    netdsl.write(many="".join(nets))
    plot = ("--plot", "a.svg", "--by", by, "-q")
    assert netdsl("compare", *(f"many.net:{name}" for name in names), *plot).code == 0
    drawn = Drawn(Path("a.svg").read_bytes())
    assert overlapping(drawn) == []
    for text, (left, top, right, low) in drawn.texts:
        assert left >= 0 and top >= 0 and right <= drawn.size[0] and low <= drawn.size[1], text  # noqa: PT018
    inks = [group[1].get("stroke") for group in ElementTree.parse("a.svg").iter(f"{SVG}g")]
    assert (len(inks), len({*inks})) == (12, 12 if by == "macs" else 1)


def test_each_net_has_a_circle_and_a_name(pictures: dict[str, bytes], rows: dict[str, Any]) -> None:
    drawn = Drawn(pictures["macs"])
    assert {told.partition(",")[0] for told in drawn.circles} == rows.keys()
    texts = [text for text, _ in drawn.texts]
    assert {name for name in rows if texts.count(name) != 1} == set()
    assert {row["protocol"] for row in rows.values() if row["top1"] is not None} <= set(texts)


def test_each_year_has_its_circles(pictures: dict[str, bytes], rows: dict[str, Any]) -> None:
    drawn = Drawn(pictures["year"])
    assert {told.partition(",")[0] for told in drawn.circles} == {name for name, row in rows.items() if row["year"]}
    assert {str(row["year"]) for row in rows.values()} <= {text for text, _ in drawn.texts}
    across = {name: drawn.of(name)[0] for name in rows}
    for a, b in combinations(rows, 2):
        if rows[a]["year"] < rows[b]["year"]:
            assert across[a] < across[b]
    heights = sorted((row["depth"], -drawn.of(name)[1]) for name, row in rows.items())
    assert [height for _, height in heights] == sorted(height for _, height in heights)


def test_nets_without_an_error_are_drawn_by_their_weights(netdsl: Commands) -> None:
    netdsl.write(a="".join(f"net n{k} {{ input x 10; dense {10**k} }}\n" for k in range(4)))
    assert netdsl("compare", "a.net:*", "alexnet", "--plot", "a.svg").err == "a.svg\n"
    drawn = Drawn(Path("a.svg").read_bytes())
    x, y, _ = zip(*(drawn.of(f"n{k}") for k in range(4)), strict=True)
    for places in (x, y):  # of 11, 110, … weights and 10, 100, … operations, on logarithmic axes
        steps = [b - a for a, b in pairwise(places)]
        assert steps == pytest.approx([steps[0]] * 3, abs=0.2)
    assert {"no published error: weights", "ImageNet: top-1 accuracy in percent"} <= {text for text, _ in drawn.texts}
    assert drawn.of("alexnet")[1] < min(y)
    assert overlapping(drawn) == []


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("macs", ["not drawn, with MACs that depend on sizes known at run time: b", "not drawn, without MACs: c"]),
        ("year", ["not drawn, without a year: c, a, d0, d1, d2, d3, d4, d5, d6, d7 and 2 more"]),
    ],
)
def test_what_is_not_drawn_is_named_with_the_reason(by: str, expected: list[str], netdsl: Commands) -> None:
    more = "".join(f"net d{k} {{ input x 4; dense 2 }}\n" for k in range(9))
    netdsl.write(a="net a { input x 4; dense 1 }\nnet b { input x 3x?x?; conv 3x3 4 }\nnet c { input x 4 }\n" + more)
    ran = netdsl("compare", "a.net:*", "lenet5", "--plot", "a.svg", "--by", by)
    assert (ran.code, sorted(ran.err.splitlines())) == (0, ["a.svg", *expected])
    quiet = netdsl("compare", "a.net:*", "lenet5", "--plot", "a.svg", "--by", by, "-q")
    assert (quiet.out, quiet.err) == (ran.out, "")


def test_a_chart_can_be_dark(netdsl: Commands) -> None:
    assert netdsl("compare", "alexnet", "lenet5", "--plot", "a.svg", "--theme", "dark").code == 0
    own = {DARK.ink, DARK.faint, DARK.paper, DARK.grid, *DARK.palette}
    inks = set(re.findall(r'(?:stroke|fill)="(#\w+)"', Path("a.svg").read_text("utf-8")))
    assert len(inks - own) == 2  # the fills of the circles
    assert DARK.paper in inks


@pytest.mark.parametrize(("by", "data_set"), [("macs", "ImageNet"), ("macs", "CIFAR-10"), ("year", "")])
def test_areas_are_in_proportion_to_the_weights(by: str, data_set: str, pictures: dict[str, bytes]) -> None:
    drawn = Drawn(pictures[by])
    told = [told for told in drawn.circles if data_set in told and ("top-1" in told or not data_set)]
    assert len(told) > 4
    largest = max(told, key=drawn.weights.__getitem__)
    per_weight = drawn.circles[largest][2] ** 2 / drawn.weights[largest]
    for each in told:  # radii are written to a tenth of a pixel
        assert drawn.circles[each][2] == pytest.approx((drawn.weights[each] * per_weight) ** 0.5, abs=0.11)


def test_places_are_in_order_of_cost_and_of_accuracy(pictures: dict[str, bytes], rows: dict[str, Any]) -> None:
    """Within the panel of a data set; equal figures have equal places."""
    drawn = Drawn(pictures["macs"])
    shown = {name: row for name, row in rows.items() if (row["protocol"] or "").startswith("ImageNet")}
    shown = {name: row for name, row in shown.items() if row["top1"] is not None}
    for key, axis in (("macs", 0), ("top1", 1)):
        places = sorted((row[key], drawn.of(name)[axis]) for name, row in shown.items())
        assert [place_labels for _, place_labels in places] == sorted(place_labels for _, place_labels in places)


def test_the_axis_of_operations_is_logarithmic(pictures: dict[str, bytes], rows: dict[str, Any]) -> None:
    from math import log

    drawn = Drawn(pictures["macs"])
    a, b, c = ("shufflenet_v2_x0_5", "resnet50", "efficientnet_b7")
    xa, xb, xc = (drawn.of(name)[0] for name in (a, b, c))
    la, lb, lc = (log(rows[name]["macs"]) for name in (a, b, c))
    assert (xb - xa) / (xc - xa) == pytest.approx((lb - la) / (lc - la), abs=2e-3)


def test_the_same_bytes_each_time_and_a_png_beside(netdsl: Commands) -> None:
    drawn = set()
    for seed in ("1", "2"):
        ran = spawn("compare", "resnet:*", "vgg16", "--plot", "a.svg", cwd=netdsl.folder, PYTHONHASHSEED=seed)
        assert (ran.returncode, ran.stderr) == (0, b"a.svg\n")
        drawn.add((netdsl.folder / "a.svg").read_bytes())
    assert len(drawn) == 1
    assert netdsl("compare", "vgg16", "--plot", "a.png", "-q").code == 0
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_replaces_pictures_only(netdsl: Commands) -> None:
    Path("mine.svg").write_text("mine")
    assert "error[E0611]" in netdsl("compare", "vgg16", "--plot", "mine.svg").err
    assert Path("mine.svg").read_text() == "mine"
    assert netdsl("compare", "vgg16", "--plot", "mine.svg", "--force").code == 0


def test_what_stands_in_the_way_is_told_without_another_commands_option(netdsl: Commands) -> None:
    Path("mine.svg").write_text("mine")
    ran = netdsl("compare", "resnet18", "--plot", "mine.svg")
    assert (ran.code, Path("mine.svg").read_text()) == (2, "mine")
    assert "-o" not in ran.err


def test_texts_from_outside_are_harmless(netdsl: Commands) -> None:
    netdsl.write(a='net a {\n  about { top1 5; protocol "X <b>&amp; \t]]>" }\n  input x 3\n  dense 2\n}\n')
    assert netdsl("compare", "a.net", "--plot", "a.svg", "-q").code == 0
    assert "X <b>&amp; \\t]]>" in [text for text, _ in Drawn(Path("a.svg").read_bytes()).texts]


def test_hundreds_of_nets_in_one_place_are_drawn(netdsl: Commands) -> None:
    netdsl.write(a="".join(SMALL.format(name=f"net_number_{at}", error=5) for at in range(150)))
    assert netdsl("compare", "a.net:*", "--plot", "a.svg", "-q").code == 0
    drawn = Drawn(Path("a.svg").read_bytes())
    assert len(drawn.circles) == 300
    assert overlapping(drawn) == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(0.5, 40)), min_size=1, max_size=25),
    st.integers(10, 120),
)
def test_labels_never_meet(circles: list[tuple[float, float, float]], wide: int) -> None:
    labels = [CircleLabel(str(at), wide + at, 14, circle) for at, circle in enumerate(circles)]
    place_labels(labels, circles, [], (0, 0, 400, 300))
    boxes = [label.box for label in labels if label.box is not None]
    for a, b in combinations(boxes, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
    for left, top, right, low in boxes:
        assert left >= 0
        assert top >= 0
        assert right <= 400
        assert low <= 300


PLACES = list(product(range(3), range(3)))


def crossing(a: Any, b: Any, c: Any, d: Any) -> bool:
    """By Cramer's rule, in fractions: lines that touch at an end do not cross, nor parallel ones."""
    det = (b[0] - a[0]) * (d[1] - c[1]) - (b[1] - a[1]) * (d[0] - c[0])
    if not det:
        return False
    s = Fraction((c[0] - a[0]) * (d[1] - c[1]) - (c[1] - a[1]) * (d[0] - c[0]), det)
    t = Fraction((c[0] - a[0]) * (b[1] - a[1]) - (c[1] - a[1]) * (b[0] - a[0]), det)
    return 0 < s < 1 and 0 < t < 1


def test_lines_cross_where_a_point_inside_both_is_one() -> None:
    found = 0
    for a, b, c, d in product(PLACES, repeat=4):
        found += crossing(a, b, c, d)
        assert _cross((a, b), (c, d)) == crossing(a, b, c, d), (a, b, c, d)
    assert found > 100


def inside(a: Any, b: Any, box: Any) -> Fraction:
    """How much of a line is inside a box, in parts of its length; below 0 where it goes by."""
    low, high = Fraction(0), Fraction(1)
    for axis in (0, 1):
        step = b[axis] - a[axis]
        if step:
            ends = sorted((Fraction(box[axis] - a[axis], step), Fraction(box[axis + 2] - a[axis], step)))
            low, high = max(low, ends[0]), min(high, ends[1])
        elif not box[axis] < a[axis] < box[axis + 2]:
            return Fraction(-1)
    return high - low


def test_a_line_cuts_a_box_where_it_goes_through_its_inside() -> None:
    grid = list(product(range(5), range(5)))
    for a, b in product(grid, repeat=2):
        if a != b:
            part = inside(a, b, (1, 1, 3, 2))
            if part:  # a line that touches a corner may do either
                assert _cuts((a, b), (1, 1, 3, 2)) == (part > 0), (a, b, part)
