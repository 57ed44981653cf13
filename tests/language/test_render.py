"""What a problem looks like: the files of golden/render are read by people, the rest holds for any text."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.base.text import Frame, Source, Span
from netdsl.diagnostics.problem import Edit, Label, Problem, Suggestion
from netdsl.diagnostics.render import render
from tests.support.paths import ROOT


class Made(Problem):
    """Made up here, and kept out of the registry."""

    code = "E9901"
    says: str = "something is wrong"
    here: str = ""
    others: Iterable[Label] = ()
    facts: Iterable[str] = ()
    repairs: Iterable[Suggestion] = ()

    def message(self) -> str:
        return self.says

    def label(self) -> str:
        return self.here

    def labels(self) -> Iterable[Label]:
        return self.others

    def notes(self) -> Iterable[str]:
        return self.facts

    def suggestions(self) -> Iterable[Suggestion]:
        return self.repairs


class MadeWarning(Made):
    code = "W9902"
    severity = "warning"


def at(source: Source, text: str, to: str = "", nth: int = 0) -> Span:
    """Where `text` stands, or from there to the next end of `to`."""
    start = -1
    for _ in range(nth + 1):
        start = source.text.index(text, start + 1)
    return Span(source, start, source.text.index(to or text, start) + len(to or text))


def after(source: Source, text: str, nth: int = 0) -> Span:
    end = at(source, text, nth=nth).end
    return Span(source, end, end)


RESNET = Source(
    "resnet.net",
    "\n" * 13
    + "  skip {\n    conv 3x3 128 stride 2\n  }\n"
    + "\n" * 12
    + "  for i in 1..4 {\n    for j in 0..3 {\n      basic 64\n    }\n  }\n",
)
SMALL = Source("small.net", "net small {\n  input x 28x28\n  conv 3x3 64 stride 2\n  relu\n  dense 10\n}\n")
BLOCK = Source("lib/blocks.net", "block basic(n) {\n  conv 3x3 n\n}\n")


def skip_mismatch() -> Problem:
    rounds = Frame(None, at(RESNET, "for j"), variable="j", value=0)
    return Made(
        says="the branches of this skip have different shapes",
        here="the input is 64x56x56, and cannot be added to the body's 128x28x28",
        span=at(RESNET, "skip"),
        frame=Frame(rounds, at(RESNET, "basic"), name="basic"),
        others=[
            Label(at(RESNET, "3x3 128"), "this produces 128 channels of 64"),
            Label(at(RESNET, "stride 2"), "this halves 56x56 to 28x28"),
        ],
        repairs=[
            Suggestion(
                "project the identity to the same shape",
                Edit(after(RESNET, "  }"), " project { conv 1x1 128 stride 2 }"),
            )
        ],
    )


def labels_beside_and_below() -> Problem:
    line = Source("a.net", "add alpha beta gamma               delta epsilon\n")
    return Made(
        here="the primary one",
        span=at(line, "gamma"),
        others=[Label(at(line, name), f"here is {name}") for name in ("add", "alpha", "beta", "delta", "epsilon")],
    )


def labels_that_overlap() -> Problem:
    return Made(
        here="all of it",
        span=at(SMALL, "conv 3x3 64 stride 2"),
        others=[
            Label(at(SMALL, "3x3 64"), "from the same"),
            Label(at(SMALL, "3x3"), "place on"),
            Label(at(SMALL, "conv 3x3 64 stride 2"), "all of it again"),
            Label(at(SMALL, "stride"), ""),
            Label(at(SMALL, "dense 10"), "outer"),
            Label(at(SMALL, "10"), ""),
        ],
    )


def several_lines() -> Problem:
    text = (
        "net a {\n  skip { x\n" + "".join(f"    conv {n}\n" for n in range(9)) + "  }\n  skip {\n    relu\n  }\n}\n\n"
    )
    long = Source("long.net", text)
    return Made(
        here="this skip",
        span=at(long, "{ x", "}"),
        others=[
            Label(Span(long, 0, len(text)), "in this net"),
            Label(at(long, "conv 3"), "here"),
            Label(at(long, "conv 7\n", "8\n"), "two lines"),
            Label(at(long, "skip", "}", nth=1), ""),
        ],
    )


def two_meet_on_a_line() -> Problem:
    text = Source("meet.net", "skip {\n  relu\n} project {\n  conv 1x1 64\n}")
    return Made(here="the body", span=at(text, "skip", "}"), others=[Label(at(text, "project", "64\n}"), "the rest")])


def other_files() -> Problem:
    main = Source("main.net", 'use "lib/blocks.net"\nbasic 64\n')
    return Made(
        here="called with 1 argument",
        span=at(main, "basic 64"),
        others=[
            Label(at(BLOCK, "basic"), "declared here"),
            Label(at(BLOCK, "conv 3x3 n"), "fails here"),
            Label(at(SMALL, "relu"), "and here"),
        ],
        frame=Frame(None, at(main, "use")),
        repairs=[Suggestion("name it", Edit(at(BLOCK, "(n"), "(width"), Edit(at(BLOCK, " n"), " width"))],
    )


def gaps() -> Problem:
    text = Source("gaps.net", "".join(f"line{n}\n" for n in range(1, 1201)))
    return Made(
        span=at(text, "line5\n"),
        here="fifth",
        others=[Label(at(text, f"line{n}\n"), f"number {n}") for n in (6, 8, 11, 999, 1200)],
    )


def many_frames() -> Problem:
    frame = None
    for depth in range(12):
        if depth % 3 == 1:
            frame = Frame(frame, at(RESNET, "for i"), variable="i", value=depth)
            frame = Frame(frame, at(RESNET, "for j"), variable="j", value="x" * 50)
        frame = Frame(frame, at(RESNET, "basic"), name=f"block{depth}")
    return Made(span=at(SMALL, "relu"), frame=frame, facts=["a fact", "another"])


def only_rounds() -> Problem:
    frame = Frame(None, at(RESNET, "for i"), variable="i", value=2)
    return Made(span=at(RESNET, "basic"), frame=Frame(frame, at(RESNET, "for j"), variable="j", value=0.5))


def deep_rounds() -> Problem:
    frame = None
    for depth in range(10_000):
        frame = Frame(frame, at(RESNET, "for j"), variable=f"i{depth}", value=depth)
    return Made(span=at(RESNET, "basic"), frame=frame)


def repairs() -> Problem:
    return Made(
        span=at(SMALL, "conv"),
        repairs=[
            Suggestion("no edit, only words"),
            Suggestion("replace", Edit(at(SMALL, "3x3 64"), "64 3x3")),
            Suggestion("delete", Edit(at(SMALL, " stride 2"), "")),
            Suggestion(
                "insert by replacing", Edit(at(SMALL, "relu"), "relu 0.1"), Edit(at(SMALL, "dense"), "my_dense")
            ),
            Suggestion("all on one line", Edit(at(SMALL, "conv"), "dwconv"), Edit(at(SMALL, "64 "), "")),
            Suggestion(
                "whole lines", Edit(after(SMALL, "relu\n"), "  flatten\n\n  dropout 0.5\n"), Edit(at(SMALL, "10"), "9")
            ),
            Suggestion("delete lines", Edit(at(SMALL, "  relu\n", "10\n"), "")),
            Suggestion("a blank", Edit(after(SMALL, "conv"), " "), Edit(after(SMALL, "relu"), "\n")),
            Suggestion("very many", Edit(after(SMALL, "relu\n"), "  relu\n" * 20)),
        ],
    )


def tabs_and_wide_characters() -> Problem:
    text = Source("wide.net", "\tconv\t3x3 # 漢字 ｱ é e\u0301\u0302x 🙂 end\n\t漢字 漢\n")
    return Made(
        here="漢字 says the label",
        span=at(text, "3x3"),
        others=[
            Label(at(text, "漢字"), "wide: 漢"),
            Label(at(text, "e\u0301\u0302"), "combined"),
            Label(at(text, "\u0301"), "mark alone"),
            Label(at(text, "x 🙂"), ""),
            Label(at(text, "end"), "end"),
            Label(at(text, "\t漢字"), "with a tab"),
            Label(at(text, "漢", nth=2), "last"),
        ],
    )


def hostile_text() -> Problem:
    text = Source("a\x1b[2J\n\u202eb.net", "conv \x1b[31m\x00 \u202e evil \u2066\ufeff\x85\ud800\u200d end\n")
    frame = Frame(None, at(text, "conv"), variable="\x07", value="\x1b]0;title\x07")
    return Made(
        says="no `\x1b[31m\u202ename`\r\n\there",
        here="\x1b[0m",
        span=at(text, "\x1b[31m\x00"),
        frame=Frame(frame, at(text, "evil"), name="\x9b"),
        others=[Label(at(text, "evil"), "\u2067"), Label(at(text, "end"), "\n")],
        facts=["\u200b\x08"],
        repairs=[Suggestion("\x7f", Edit(at(text, "evil"), "\x1b[32m"))],
    )


def long_lines() -> Problem:
    numbers = " ".join(map(str, range(1000)))
    text = Source("long.net", f"{numbers}\n\n{'x' * 500}\n{numbers}\n{numbers}\n")
    return Made(
        here="cut on both sides",
        span=at(text, " 500"),
        others=[
            Label(at(text, "0 1"), "cut on the right"),
            Label(at(text, "999"), "cut on the left"),
            Label(at(text, "x" * 500), "cut inside"),
            Label(at(text, " 501 ", "900", nth=2), ""),
        ],
    )


def no_newline_at_the_end() -> Problem:
    text = Source("open.net", "net a {")
    return Made(here="expected `}`", span=Span(text, 7, 7), others=[Label(at(text, "{"), "opened here")])


def the_end_of_the_file() -> Problem:
    text = Source("open.net", "net a {\n")
    return Made(here="expected `}`", span=Span(text, 8, 8), others=[Label(at(text, "{\n"), "opened here")])


def an_empty_file() -> Problem:
    return Made(here="no net", span=Span(Source("empty.net", ""), 0, 0))


def a_newline() -> Problem:
    return Made(here="the line ends", span=at(SMALL, "\n", nth=2))


def a_warning() -> Problem:
    return MadeWarning(says="`x` is never used", span=at(SMALL, "x"), facts=["names that begin with _ may be unused"])


CASES = [
    skip_mismatch,
    labels_beside_and_below,
    labels_that_overlap,
    several_lines,
    two_meet_on_a_line,
    other_files,
    gaps,
    many_frames,
    only_rounds,
    deep_rounds,
    repairs,
    tabs_and_wide_characters,
    hostile_text,
    long_lines,
    no_newline_at_the_end,
    the_end_of_the_file,
    an_empty_file,
    a_newline,
    a_warning,
]


def without_colors(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__name__)
def test_it_looks_as_it_should(made: Callable[[], Problem], golden: Callable[[str, str], None]) -> None:
    golden(f"render/{made.__name__}.txt", render(made()))


@pytest.mark.parametrize("made", CASES, ids=lambda made: made.__name__)
def test_colors_add_nothing_but_colors(made: Callable[[], Problem]) -> None:
    assert without_colors(render(made(), color=True)) == render(made())


@pytest.mark.parametrize("made", [skip_mismatch, several_lines, a_warning], ids=lambda made: made.__name__)
def test_colors(made: Callable[[], Problem], golden: Callable[[str, str], None]) -> None:
    golden(f"render/{made.__name__}.color.txt", render(made(), color=True).replace("\x1b", "␛"))


def test_rendering_ascii_imports_no_tables() -> None:
    code = (
        "import sys; from netdsl.base.text import *; from netdsl.diagnostics.problem import Problem\n"
        "from netdsl.diagnostics.render import render; render(Problem(span=Span(Source('a', 'b'), 0, 1)))\n"
        "print(*{'difflib', 'json', 'unicodedata'} & set(sys.modules))"
    )
    flags = [sys.executable, "-S", "-c", code]
    done = subprocess.run(flags, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


WIDTHS = {
    **dict.fromkeys("ab #{}", 1),
    **dict.fromkeys("éｱ→", 1),
    **dict.fromkeys("漢Ａ🙂", 2),
    "\u0301": 0,
}
"""Columns of characters that are shown as they are, as in the Unicode tables."""
SHOWN = {"\t": "    ", "\x1b": "\\x1b", "\x00": "\\x00", "\u202e": "\\u202e", "\U000e0001": "\\U000e0001"}


def cells(text: str) -> list[str]:
    """What each column of the screen shows; a wide character is in its first."""
    columns: list[str] = []
    for char in text:
        size = WIDTHS.get(char, 1)
        if size == 0 and columns:
            columns[-1 if columns[-1] else -2] += char
        columns += [char, ""][:size]
    return columns


def shown(text: str) -> str:
    return "".join(SHOWN.get(char, char) for char in text)


LINE = st.text([*WIDTHS, *SHOWN], max_size=60) | st.text([*WIDTHS, *SHOWN], min_size=100, max_size=400)


@given(LINE, st.data())
def test_carets_are_under_their_characters(line: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(line)))
    end = data.draw(st.integers(start, len(line)))
    if line[start:end].startswith("\u0301"):
        end = start  # a mark has no column of its own
    source = Source("a.net", "\n" * 8 + line + "\nlast")
    rows = render(Made(span=Span(source, 8 + start, 8 + end))).splitlines()
    above, below = rows[3], rows[4]
    assert above.startswith("9 |")
    assert re.fullmatch(r"  \| +\^+", below)
    left, right = below.index("^") - 4, below.rindex("^") - 3
    screen = cells(above[4:]) + [" "] * right  # no row ends in blanks
    if start == end:
        assert right - left == 1
    else:
        begun, cut, ended = "".join(screen[left:right]).replace("\u0301", "").partition("…")
        marked = shown(line[start:end]).replace("\u0301", "")
        assert (marked.startswith(begun) and marked.endswith(ended)) if cut else begun == marked
    if len(line) <= 120 and not line[start:].startswith("\u0301"):
        assert left == len(cells(shown(line[:start].lstrip("\u0301"))))


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Any texts with any spans in them, whether they make sense or not."""
    texts = st.text(max_size=200) | st.text("ab\n\t 漢\u0301\x1b\ud800", max_size=200)
    sources = [Source(draw(st.text(max_size=5)), draw(texts)) for _ in range(draw(st.integers(1, 3)))]

    def span() -> Span:
        source = draw(st.sampled_from(sources))
        start = draw(st.integers(0, len(source.text)))
        return Span(source, start, draw(st.integers(start, len(source.text))))

    def helps() -> Suggestion:
        cuts = [draw(st.integers(0, len(source.text))) for source in sources]
        pairs = zip(sources, cuts, strict=True)
        edits = [Edit(Span(s, a, b), draw(texts)) for s, cut in pairs for a, b in ((0, cut), (cut, len(s.text)))]
        return Suggestion(draw(texts), *draw(st.lists(st.sampled_from(edits), unique=True)))

    frame = None
    for variable in draw(st.lists(st.sampled_from(["i", ""]), max_size=4)):
        frame = Frame(frame, span(), variable=variable, value=draw(texts), name=draw(texts))
    return Made(
        says=draw(texts),
        here=draw(texts),
        span=span(),
        frame=frame,
        others=[Label(span(), draw(texts)) for _ in range(draw(st.integers(0, 5)))],
        facts=draw(st.lists(texts, max_size=2)),
        repairs=[helps() for _ in range(draw(st.integers(0, 2)))],
    )


@given(problems())
def test_any_problem_is_shown_and_does_nothing_to_the_terminal(problem: Problem) -> None:
    text = render(problem)
    assert all(row.isprintable() for row in text.split("\n"))
    assert all(row == row.rstrip() or "= " in row or row.startswith("error") for row in text.split("\n"))
    assert without_colors(render(problem, color=True)) == text == render(problem)
