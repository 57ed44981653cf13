"""Every problem, as data and as text: the laws that hold for all, and golden files of what people read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from string import Formatter

import pytest

from netdsl.app.analyse import check_file
from netdsl.app.frontend import load_net, load_recipe
from netdsl.base.text import Source
from netdsl.base.user_error import USER_ERRORS
from netdsl.diagnostics.catalogue import problems
from netdsl.diagnostics.edits import apply
from netdsl.diagnostics.formats import summary
from netdsl.diagnostics.problem import Problem, Suggestion
from netdsl.diagnostics.render import render
from netdsl.diagnostics.report import Report
from tests.support.paths import ROOT

FOLDER = ROOT / "tests/golden/diagnostics"
GOLDEN = sorted(FOLDER.glob("*.net"))
PROBLEMS = problems()
EXAMPLE = r"^ *```net (?:{})\n(.*?)^ *```"
FORMAT = Formatter()
ONLY_TO_COMPILE = {"E0209", "which_net"}
"""A check goes through all nets; only where one must be chosen can the choice be wrong."""


def found_in(file: str, compiled: bool = False) -> Report:
    report = Report()
    (load_net if compiled else check_file)(file, report)
    return report


@cache
def found_in_golden(file: str) -> Report:
    """What a check of a golden file finds, in its folder."""
    return found_in(file)


def found_in_text(text: str, compiled: bool = False) -> Report:
    """What is wrong with a text, in this folder."""
    Path("main.net").write_text(text, "utf-8")
    return found_in("main.net", compiled)


def example(code: str, kind: str = "fail|warn") -> str:
    documented = re.search(EXAMPLE.format(kind), PROBLEMS[code].__doc__ or "", re.DOTALL | re.MULTILINE)
    assert documented, f"{code} shows no example of how it comes about, or none of how it is fixed"
    return re.sub("^    ", "", documented[1], flags=re.MULTILINE)


@pytest.mark.parametrize("code", PROBLEMS)
def test_the_fixed_example_is_right(code: str) -> None:
    assert [p.code for p in found_in_text(example(code, "fixed"), code in ONLY_TO_COMPILE)] == []
    assert example(code, "fixed") != example(code)


def said(problem: Problem) -> list[str]:
    """All its sentences."""
    labels = [problem.label(), *(label.text for label in problem.labels())]
    return [
        problem.title,
        problem.message(),
        *labels,
        *problem.notes(),
        *(found.text for found in problem.all_suggestions()),
    ]


def assert_well_said(report: Report) -> None:
    for problem in report:
        for text in said(problem):
            assert "\n" not in text
            assert text == text.strip()
            assert not text.endswith("."), "a sentence ends without a full stop"
        assert problem.message()
        assert all(label.text for label in problem.labels()), "a second place without a word says nothing"


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests write their files where nobody else's are."""
    monkeypatch.chdir(tmp_path)


def test_codes_are_well_formed_and_nobody_elses() -> None:
    assert [code for code in PROBLEMS if not re.fullmatch(r"[EW]0[1-5]\d\d", code)] == []
    assert [code for code in PROBLEMS if code in USER_ERRORS] == []
    assert list(PROBLEMS) == sorted(PROBLEMS)
    assert [code for code, cls in PROBLEMS.items() if cls.code != code] == []
    titles = Counter(cls.title for cls in PROBLEMS.values())
    assert [title for title, count in titles.items() if count > 1] == []


@pytest.mark.parametrize("code", PROBLEMS)
def test_templates_name_data_of_the_problem(code: str) -> None:
    cls = PROBLEMS[code]
    place, caption = cls.related or ("span", "")
    parts = [
        part for text in (cls.headline or cls.title, cls.caption, cls.hint, caption) for part in FORMAT.parse(text)
    ]
    names = {place, *(re.split(r"[.\[]", name)[0] for _, name, _, _ in parts if name)}
    assert [name for name in names if name not in cls.fields and not isinstance(getattr(cls, name), property)] == []


@pytest.mark.parametrize("code", PROBLEMS)
def test_the_documented_example_is_wrong_in_that_way_alone(code: str) -> None:
    cls = PROBLEMS[code]
    assert cls.__doc__
    assert ("```net warn" in cls.__doc__) == (cls.severity == "warning") == code.startswith("W")
    report = found_in_text(example(code), code in ONLY_TO_COMPILE)
    assert [p.code for p in report] == [code]
    assert_well_said(report)


def marks(path: Path) -> list[tuple[str, int, str]]:
    """The file, line and code of each mark `#~ E0310 E0311` in a file and in those that it uses."""
    pending, seen = [path], []
    found = []
    while pending:
        at = pending.pop()
        seen.append(at)
        text = at.read_text("utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            codes = line.partition("#~")[2].split()
            found += [(os.path.relpath(at, FOLDER), number, code) for code in codes]
        used = [at.parent / name for name in re.findall(r'^use .*"(.+)"', text, re.MULTILINE)]
        pending += [file for file in used if file.is_file() and file not in seen]
    return sorted(found)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_people_read(path: Path, golden: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    report = found_in(path.name, True) if path.stem in ONLY_TO_COMPILE else found_in_golden(path.name)
    golden(f"diagnostics/{path.stem}.txt", "\n\n".join([*map(render, report), summary(report)]))
    places = [(*p.span.source.position(p.span.start)[:1], p.span.source.name, p.code) for p in report]
    assert sorted((name, line, code) for line, name, code in places) == marks(path)
    assert_well_said(report)


def test_every_problem_has_its_golden_text() -> None:
    elsewhere = {code for code in PROBLEMS if code < "E0200"}  # by test_syntax_problems
    told = {code for path in GOLDEN for _, _, code in marks(path)}
    assert sorted(set(PROBLEMS) - elsewhere - told) == []


def suggested(report: Report, file: str) -> list[tuple[Problem, Suggestion]]:
    """The suggestions whose edits are all in one file."""
    return [
        (problem, found)
        for problem in report
        for found in problem.all_suggestions()
        if found.edits and all(edit.span.source.name == file for edit in found.edits)
    ]


@pytest.mark.parametrize("code", PROBLEMS)
def test_a_suggested_edit_fixes_the_example(code: str) -> None:
    text = example(code)
    for problem, found in suggested(found_in_text(text), "main.net"):
        fixed = apply(text, found.edits)
        assert problem.code not in [p.code for p in found_in_text(fixed)], found.text


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_suggested_edit_fixes_that_and_breaks_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fixed statement a check sees more; here it finds nothing new."""
    monkeypatch.chdir(FOLDER)
    text = path.read_text("utf-8")
    before = found_in_golden(path.name)
    codes = Counter(p.code for p in before)
    fixed = FOLDER / f"mended_{path.name}"
    try:
        for problem, found in suggested(before, path.name):
            fixed.write_text(apply(text, found.edits), "utf-8")
            after = Counter(p.code for p in found_in(fixed.name))
            assert after[problem.code] < codes[problem.code], found.text
            assert [code for code in after - codes if code.startswith("E")] == [], found.text
    finally:
        fixed.unlink(missing_ok=True)


DID_YOU_MEAN = [
    ("E0201", "let wide = 64\nnet a { input x 784; dense 2*wdie }", "2*wide"),
    ("E0201", "fn wide(n) = n\nnet a { input x 784; dense wdie(3) }", "wide(3)"),
    ("E0201", "net a { input x 3x8x8; conv 3x3 4 bias True }", "bias on"),
    ("E0202", "block unit { relu }\nnet a { input x 784; untit; dense 10 }", "; unit;"),
    ("E0202", "default denes bias off\nnet a { input x 784; dense 10 }", "default dense"),
    ("E0203", "net a { input x 784; stem: relu; add { relu } stme }", "} stem }"),
    ("E0203", "net a { input x 784; g: { h: relu; relu }; add { relu } g.hh }", "} g.h }"),
    ("E0203", "net a { input x 784; g: { h: relu; relu }; add { relu } h }", "} g.h }"),
    ("E0210", "net one { input x 784; dense 10 }\nnet two = onne()", "two = one("),
    ("E0214", "net one(n = 1) { input x 784; dense n }\nnet two = one(N = 2)", "one(n = 2"),
    ("E0402", "net a { input x 784; dense 10 bais off }", "bias off"),
    ("E0402", "net a(units = 10) { input x 784; dense unts }", "dense units"),
    ("E0402", "default conv bais off\nnet a { input x 784; dense 10 }", "bias off"),
    ("E0418", "net a { input x 3x8x8; conv 3x3 4 init he_norml }", "he_normal"),
    ("E0504", 'use resnet5 from "zoo/resnet.net"\nnet a { input x 784; dense 10 }', "use resnet50 "),
]


@pytest.mark.parametrize(("code", "text", "fixed"), DID_YOU_MEAN, ids=[row[1] for row in DID_YOU_MEAN])
def test_did_you_mean(code: str, text: str, fixed: str) -> None:
    report = found_in_text(text)
    assert [p.code for p in report] == [code]
    ((_, found),) = suggested(report, "main.net")
    repaired = apply(text, found.edits)
    assert fixed in repaired
    assert list(found_in_text(repaired)) == []


PROJECTIONS = [
    ("3x8x8", "conv 3x3 16", "conv 1x1 16"),
    ("3x8x8", "conv 3x3 16 stride 2; bn; relu; conv 3x3 16", "conv 1x1 16 stride 2"),
    ("16x9x7", "maxpool 3x3 stride 3", "conv 1x1 16 stride 4"),
    ("16x9", "conv 3 8 stride 2", "conv 1 8 stride 2"),
    ("4x8x8x8", "conv 3x3x3 8 stride 2", "conv 1x1x1 8 stride 2"),
    ("4x?H", "conv 3 8", "conv 1 8"),
    ("4x8x8", "dense 10", None),
    ("4x8x8", "conv 3x3 pad 0", None),
]


@pytest.mark.parametrize(("shape", "body", "projection"), PROJECTIONS)
def test_the_offered_projection_meets_the_body(shape: str, body: str, projection: str | None) -> None:
    if "?" in shape:
        shape = f"[{', '.join(shape.split('x'))}]"
    text = f"net a {{\n  input x {shape}\n  skip {{ {body} }}\n  relu\n}}\n"
    report = found_in_text(text)
    assert [p.code for p in report] == ["E0310"]
    offered = [apply(text, found.edits) for _, found in suggested(report, "main.net")]
    assert any(f"}} project {{ {projection} }}" in fixed for fixed in offered) is (projection is not None)
    for fixed in offered:
        assert found_in_text(fixed).errors == 0


IMAGE = "net main {\n  input image 3x32x32\n  "

BEST_BEHAVIOUR = [
    ("11 unknown layer", IMAGE + "Conv4d 3x3 64\n}", "E0202 Conv4d"),
    ("12 unknown argument", IMAGE + "conv 3x3 64 kernal 3\n}", "E0402 kernal"),
    ("13 missing argument", IMAGE + "conv\n  dense 10\n}", "E0403 conv"),
    ("14 given twice", IMAGE + "conv 3x3 64 stride 2 stride 2\n}", "E0404 stride"),
    ("15 undefined", IMAGE + "add { relu } missing\n}", "E0203 missing"),
    ("16 cycle", "let a = b\nlet b = c\nlet c = a\n" + IMAGE + "dense a\n}", "E0206 a"),
    ("17 duplicate", IMAGE + "a: relu\n  a: relu\n}", "E0204 a"),
    ("18 collision", IMAGE + "conv1: conv 3x3 4\n  conv 3x3 4\n}", "E0205 conv"),
    ("19 recursion", "block b { b }\n" + IMAGE + "b\n}", "E0206 b"),
    ("20 mutual recursion", "block b { c }\nblock c { b }\n" + IMAGE + "b\n}", "E0206 b"),
    ("21 too few", "block b(w, h) { relu }\n" + IMAGE + "b 3\n}", "E0403 b"),
    ("21 too many", "block b(w) { relu }\n" + IMAGE + "b 3 4 5\n}", "E0405 4"),
    ("22 dead value", IMAGE + "side: relu\n  from image\n  dense 10\n}", "W0201 relu"),
    ("23 no input", "net a { dense 10 }", "E0207 dense"),
    ("24 outputs of one name", IMAGE + "output y\n  relu; output y\n}", "E0211 y"),
    ("24 passed through", IMAGE + "output y\n}", ""),
    ("25 private label", "block b { c: relu }\n" + IMAGE + "b\n  add { relu } c\n}", "E0203 c"),
    ("26 dangerous name", IMAGE + 'layer{"../x"}: relu\n}', 'E0408 "../x"'),
    ("27 other channels", IMAGE + "skip { conv 3x3 4 }\n}", "E0310 skip"),
    ("28 no broadcast", IMAGE + "add { global_avgpool }\n}", "E0301 add"),
    ("29 concat of sizes", IMAGE + "concat { } { maxpool 2x2 }\n}", "E0302 concat"),
    ("30 concat over no axis", IMAGE + "concat axis 5 { } { }\n}", "E0309 5"),
    ("30 concat of nothing", IMAGE + "concat for i in [] { relu }\n}", "E0315 concat"),
    ("31 large kernel", IMAGE + "conv 35x35 4 pad 0\n}", "E0303 35x35"),
    ("32 nothing left", IMAGE + "repeat 6 { maxpool 2x2 }\n}", "E0303 2x2"),
    ("33 flattens", IMAGE + "dense 10\n}", ""),
    ("36 groups", IMAGE + "conv 3x3 4 groups 2\n}", "E0304 2"),
    ("37 multiplier", IMAGE + "dwconv 3x3 multiplier 1.5\n}", "E0401 1.5"),
    ("40 rank", IMAGE + "dense 10; lrn 5\n}", "E0305 lrn"),
    ("41 padding", IMAGE + "maxpool 2x2 pad 2\n}", "E0306 2"),
    ("42 expectation", IMAGE + "expect 3x3x3\n}", "E0307 3x3x3"),
    ("43 unknown size", "net a { input x 3x?x?; dense 10 }", "E0311 dense"),
    ("44 stride 0", IMAGE + "conv 3x3 4 stride 0\n}", "E0401 0"),
    ("44 kernel 0", IMAGE + "conv 0x3 4\n}", "E0401 0x3"),
    ("44 channels 0", IMAGE + "conv 3x3 0\n}", "E0401 0"),
    ("44 size 0", "net a { input x 0x3x3; relu }", "E0401 0x3x3"),
    ("44 negative repeat", IMAGE + "repeat -1 { relu }\n}", "E0415 -1"),
    ("45 negative padding", IMAGE + "conv 3x3 4 pad (-1)\n}", "E0401 (-1)"),
    ("46 too many channels", IMAGE + "conv 3x3 1000000000000\n}", "E0401 1000000000000"),
    ("46 too many weights", IMAGE + "dense 2000000000\n}", "E0314 dense"),
    ("47 beyond int64", IMAGE + "dense 2**40 * 2**40\n}", "E0401 2**40 * 2**40"),
    ("47 many digits", IMAGE + f"dense {'9' * 5000}\n}}", f"E0106 {'9' * 5000}"),
    ("48 many rounds", IMAGE + "repeat 1000000000 { relu }\n}", "E0314 1000000000"),
    ("48 rounds of rounds", IMAGE + "repeat 2000 { repeat 2000 { relu } }\n}", "E0314 2000"),
    ("48 unbound", IMAGE + "repeat n { relu }\n}", "E0201 n"),
    ("49 dropout 1.5", IMAGE + "dropout 1.5\n}", "E0401 1.5"),
    ("49 dropout 1", IMAGE + "dropout 1\n}", "E0401 1"),
    ("50 bn", IMAGE + "bn eps 0\n}", "E0401 0"),
    ("50 lrn", IMAGE + "lrn 4\n}", "E0401 4"),
    ("51 nan", IMAGE + "dropout nan\n}", "E0402 nan"),
    ("51 1e999", IMAGE + "dropout 1e999\n}", "E0106 1e999"),
    ("52 division by zero", IMAGE + "dense 10/0\n}", "E0409 0"),
    ("52 no integer", IMAGE + "dense channels/2\n}", "E0401 channels/2"),
    ("53 kernel's length", IMAGE + "conv [3, 3, 3] 4\n}", "E0313 [3, 3, 3]"),
    ("53 pad's length", IMAGE + "conv 3x3 4 pad [1, 1, 1]\n}", "E0313 [1, 1, 1]"),
]


@pytest.mark.parametrize(("text", "expected"), [row[1:] for row in BEST_BEHAVIOUR], ids=[r[0] for r in BEST_BEHAVIOUR])
def test_each_mistake_is_told_once_and_where_it_is(text: str, expected: str) -> None:
    assert " | ".join(f"{p.code} {p.span.text}" for p in found_in_text(text)) == expected


def chain(count: int, first: str, link: str) -> str:
    return first + "".join(link.format(i, i - 1) + "\n" for i in range(1, count))


DEEP = {
    "functions": chain(999, "fn f0(x) = x\n", "fn f{}(x) = f{}(x)") + "net a { input x 4; dense f998(3) }",
    "values": "".join(f"let v{i} = v{i + 1}\n" for i in range(120)) + "let v120 = 3\nnet a { input x 4; dense v0 }",
    "blocks": chain(999, "block b0 { relu }\n", "block b{} {{ b{} }}") + "net a { input x 4; b998 }",
    "braces of blocks": chain(90, "block b0 { relu }\n", f"block b{{}} {{{{ {'skip {{ ' * 90} b{{}} {'}} ' * 90} }}}}")
    + "net a { input x 4; b89 }",
    "brackets of functions": chain(90, "fn f0(x) = x\n", f"fn f{{}}(x) = {'-(' * 45}f{{}}(x){')' * 45}")
    + "net a { input x 4; dense f89(3) }",
}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP)
def test_nothing_nests_without_end(text: str) -> None:
    assert {p.code for p in found_in_text(text)} <= {"E0109", "E0314"}
    assert len(found_in_text(text)) >= 1


def test_files_do_not_nest_without_end() -> None:
    for number in range(600):
        Path(f"u{number}.net").write_text(f'use "u{number + 1}.net"\n', "utf-8")
    assert [p.code for p in found_in("u0.net")] == ["E0501"]


FROM_ELSEWHERE = [
    ("block b { relu", 'use b from "other.net"', "E0102"),
    ("block b { relu", 'use "other.net"', "E0102"),
    ("relu", 'use c from "other.net"', "E0115 E0504"),
    ("block c { relu }", 'use b from "other.net"', "E0504"),
    ('use b from "third.net"', 'use b from "other.net"', "E0501 E0504"),
]


@pytest.mark.parametrize(("other", "use", "codes"), FROM_ELSEWHERE)
def test_what_another_file_should_have_is_missed_once(other: str, use: str, codes: str) -> None:
    Path("other.net").write_text(other, "utf-8")
    report = found_in_text(f"{use}\nnet a {{ input x 784; b; from x; dense c; from x; dense 10 }}")
    missing = [p.code for p in report if p.span.text not in ("b", "c") or p.code == "E0504"]
    assert " ".join(sorted(missing)) == codes


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_report_says_the_same_twice(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    first, second = ([*map(render, report)] for report in (found_in_golden(path.name), found_in(path.name)))
    assert first == second


def test_hash_seeds_do_not_show() -> None:
    outputs = []
    for seed in ("0", "42"):
        done = subprocess.run(
            [sys.executable, "-m", "netdsl", "check", *(path.name for path in GOLDEN)],
            cwd=FOLDER,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        assert done.returncode == 1
        assert b"E0310" in done.stderr
        outputs.append((done.stdout, done.stderr))
    assert outputs[0] == outputs[1]


def test_the_words_of_an_argument_are_listed() -> None:
    report = Report()
    text = "net a { input x 2; dense 2 }\ntrain a { data xor; loss cross_entropy; dtype f64 }\n"
    load_recipe(Source("a.net", text), report)
    (problem,) = report
    assert [*problem.notes()] == ["usage: dtype NAME", "the words for this argument are f32, f16, bf16"]
