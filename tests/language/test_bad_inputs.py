"""Bad programs, row by row of docs/bad_inputs.md (1 to 68), as a user meets them: what is said, that nothing is left
behind, and that it takes neither long nor much memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from netdsl.backend.compile import compile_to_bytes
from netdsl.base.limits import NESTING
from tests.support.cli_tools import Commands, environment, netdsl
from tests.support.programs import net_of

__all__ = ["netdsl"]

posix = pytest.mark.skipif(os.name != "posix", reason="devices, pipes and limits")

# --- what is said --------------------------------------------------------------------------------------------------


def numbered(cases: list[Any]) -> list[str]:
    """`44-2`: a case's row of the table, and its own number."""
    return [f"{row}-{number}" for number, (row, *_) in enumerate(cases)]


IMAGE = "net main {\n  input image 3x32x32\n  "
DENSE = "net a { input x 784; dense 10 }\n"

SAID = [
    (1, "net a {\n  input x 4\n  relu", "1:7: error[E0102]: unclosed `{`"),
    (1, "net a { input x 4; dense (3 }", "1:26: error[E0102]: unclosed `(`"),
    (2, IMAGE + "conv 3x3, 64\n}", "3:11: error[E0111]"),
    (2, IMAGE + "conv 3x3 64 ]\n}", "3:15: error[E0103]: unmatched `]`"),
    (2, IMAGE + "conv 3x3 64 => 2\n}", "3:15: error[E0124]: unexpected `=>`"),
    (3, "netwrok a { input x 4; relu }", "1:1: error[E0114]: unknown definition `netwrok`"),
    (4, IMAGE + "dense 10$\n}", "illegal character `$`"),
    (4, "let s = \u201ca\u201d\n" + DENSE, "illegal character U+201C LEFT DOUBLE QUOTATION MARK"),
    (4, IMAGE + "dense\u00a010\n}", "illegal character U+00A0 NO-BREAK SPACE"),
    (4, IMAGE + "dense 10\u22121\n}", "illegal character U+2212 MINUS SIGN"),
    (5, 'let s = "a\n' + DENSE, "1:9: error[E0105]: unterminated string"),
    (6, "let v = 3..5\n" + DENSE, "1:9: error[E0106]: malformed number `3..5`"),
    (6, "let v = 0x\n" + DENSE, "malformed number `0x`"),
    (6, "let v = 1e\n" + DENSE, "malformed number `1e`"),
    (6, "let v = 1_000_\n" + DENSE, "malformed number `1_000_`"),
    (6, "let v = 08\n" + DENSE, "malformed number `08`"),
    (7, IMAGE + "conv 3.5 4\n}", "`kernel` of `conv` must be an integer of at least 1"),
    (7, IMAGE + "conv 3x3 64.0\n}", "`channels` of `conv` must be an integer of at least 1, not 64.0"),
    (8, "", "1:1: error[E0208]: the file defines no net"),
    (8, "# nothing\n\n# at all", "error[E0208]: the file defines no net"),
    (10, "net a { input \u0441 4; relu }", "U+0441 CYRILLIC SMALL LETTER ES"),
    (10, "net a { input x\u202e 4; relu }", "U+202E RIGHT-TO-LEFT OVERRIDE"),
    (11, IMAGE + "relus\n}", "unknown layer or block `relus`"),
    (12, IMAGE + "conv 3x3 64 kernal 3\n}", "`kernal` is neither an argument of `conv`"),
    (13, IMAGE + "conv\n}", "`conv` requires the argument `kernel`"),
    (14, IMAGE + "conv 3x3 stride 2 stride 1\n}", "`stride` of `conv` is given twice"),
    (15, IMAGE + "add { relu } missing\n}", "unknown label `missing`"),
    (16, "let b = c\nlet c = b\n" + DENSE, "b → c → b"),
    (16, IMAGE + "a: { from b; relu }\n  b: { from a; relu }\n}", "unknown label `b`"),
    (17, IMAGE + "a: relu\n  a: relu\n}", "4:3: error[E0204]: `a` is defined twice"),
    (19, "block b { b }\nnet a { input x 4; b }", "b → b"),
    (20, "block b { c }\nblock c { b }\nnet a { input x 4; b }", "b → c → b"),
    (21, "block b(w) { dense w }\nnet a { input x 4; b 3 4 }", "`b` takes 1 positional argument, but 2 are given"),
    (23, "net a { dense 10 }", "error[E0207]"),
    (24, IMAGE + "output y\n  relu; output y\n}", "4:16: error[E0211]: two inputs or outputs are named `y`"),
    (25, "block b { c: relu }\n" + IMAGE + "b\n  add { relu } c\n}", "the label `c` is not visible here"),
    (26, IMAGE + 'layer{""}: relu\n}', 'a name takes an integer of at least 0 or a word in its braces, not ""'),
    (26, IMAGE + 'layer{"../x"}: relu\n}', 'not "../x"'),
    (26, IMAGE + f"{'y' * 10_000}: relu\n}}", "10,000 characters of a name"),
    (27, IMAGE + "a: conv 3x3 64\n  conv 3x3 128 stride 2\n  add a\n}", "128x16x16 and 64x32x32"),
    (28, IMAGE + "add { global_avgpool }\n}", "3x32x32 and 3x1x1"),
    (29, IMAGE + "concat { } { maxpool 2x2 } { conv 3x3 4 }\n}", "3x32x32, 3x16x16 and 4x32x32"),
    (30, IMAGE + "concat axis 7 { } { }\n}", "there is no axis 7: the input has 3 axes"),
    (30, IMAGE + "concat for i in [] { }\n}", "this `concat` has nothing to merge"),
    (31, "net a { input x 3x5x5; conv 7x7 4 pad 0 }", "window 7x7 of `conv` is larger than its padded input 5x5"),
    (32, "net a { input x 3x16x16; repeat 5 { conv 3x3 8; maxpool 2x2 } }", "2x2 of `maxpool` is larger"),
    (34, IMAGE + "expect 4x32x32\n}", "expected 4x32x32, found 3x32x32"),
    (35, "net a { input x 224x224; conv 7x7 64 }", "has 2 entries, but its input 224x224 needs 1"),
    (36, IMAGE + "conv 3x3 64\n  conv 3x3 128 groups 3\n}", "3 groups do not divide 64 input and 128 output channels"),
    (37, IMAGE + "dwconv 3x3 multiplier 1.5\n}", "`multiplier` of `dwconv` must be an integer of at least 1, not 1.5"),
    (38, IMAGE + "reshape 5x5\n}", "3x32x32 has 3,072 elements, but 5x5 has 25"),
    (38, IMAGE + "reshape [?, ?]\n}", "only one size of a `reshape` can be `?`, but [?, ?] has 2"),
    (38, IMAGE + "reshape [-1, 7]\n}", "`sizes` of `reshape` must be integers from 1"),
    (40, IMAGE + "dense 10; lrn 5\n}", "`lrn` needs channels and one to three spatial axes, but its input is 10"),
    (41, IMAGE + "maxpool 2x2 pad 2\n}", "error[E0306]"),
    (42, IMAGE + "maxpool 2x2\n  expect 512x7x7\n}", "expected 512x7x7, found 3x16x16"),
    (43, "net a { input x [3, ?H, 4]; dense 10 }", "a size of its input [3, H, 4] that is known only at run time: `H`"),
    (44, IMAGE + "conv 3x3 4 stride 0\n}", "`stride` of `conv` must be an integer of at least 1, or one for each axis"),
    (44, IMAGE + "repeat -1 { relu }\n}", "`repeat` takes an integer of at least 0, not -1"),
    (45, IMAGE + "conv 3x3 4 pad (-1)\n}", "`pad` of `conv` must be"),
    (46, IMAGE + "dense 2000000000\n}", "`dense1.weight` needs 24.6 TB: 6,146,000,000,000 weights"),
    (46, IMAGE + "conv 3x3 1000000000000\n}", "`channels` of `conv` must be at most 2147483647, not 1000000000000"),
    (47, IMAGE + "dense 2**40 * 2**40\n}", "must be at most 2147483647, not 1208925819614629174706176"),
    (47, IMAGE + f"dense {'9' * 10_000}\n}}", "malformed number"),
    (48, IMAGE + "repeat 1000000000 { relu }\n}", "1,000,000,000 rounds"),
    (48, IMAGE + "repeat 1000 { repeat 1000 { repeat 1000 { relu } } }\n}", "1,000,000 rounds"),
    (48, IMAGE + "repeat n { relu }\n}", "unknown name `n`"),
    (49, IMAGE + "dropout 1.5\n}", "`p` of `dropout` must be a number >= 0 and < 1, not 1.5"),
    (49, IMAGE + "dropout (-0.1)\n}", "must be a number >= 0 and < 1, not -0.1"),
    (49, IMAGE + "dropout 1\n}", "must be a number >= 0 and < 1, not 1"),
    (50, IMAGE + "bn eps 0\n}", "`eps` of `bn` must be a number > 0, not 0"),
    (50, IMAGE + "bn momentum 2\n}", "`momentum` of `bn` must be a number >= 0 and <= 1, not 2"),
    (50, IMAGE + "lrn 4\n}", "`size` of `lrn` must be an odd integer of at least 1, not 4"),
    (50, IMAGE + "lrn 5 beta 0\n}", "`beta` of `lrn` must be a number > 0, not 0"),
    (51, IMAGE + "dropout nan\n}", "`nan`"),
    (51, IMAGE + "scale inf\n}", "`inf`"),
    (51, IMAGE + "scale 1e999\n}", "malformed number `1e999`"),
    (52, IMAGE + "dense 10/0\n}", "error[E0409]"),
    (52, "net a { input x 64; dense channels/3 }", "must be an integer of at least 1, not 64/3"),
    (53, IMAGE + "conv [3, 3, 3] 4\n}", "`kernel` of `conv` has 3 entries, but its input 3x32x32 needs 2"),
    (53, IMAGE + "conv 3x3 4 pad [1, 1, 1]\n}", "`pad` of `conv` has 3 entries"),
    (54, IMAGE + "softmax axis 5\n}", "there is no axis 5: the input has 3 axes"),
    (54, IMAGE + "reduce mean 5\n}", "there is no axis 5: the input has 3 axes"),
    (56, "net a { input x 2147483647x2147483647x9; flatten }", "creates an axis of size"),
    (58, DENSE + "#\0", "NUL character at byte 33 (line 2)"),
    (62, "let v = " + "(" * (NESTING + 1) + "1" + ")" * (NESTING + 1), "nested more than 100 levels deep"),
    (64, 'use "gone.net"\n' + DENSE, "there is no file gone.net"),
    (64, 'use "folder"\n' + DENSE, "folder is a folder, not a file"),
    (64, 'use "main.net"\n' + DENSE, "this file uses itself"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "text", "said"), SAID, ids=numbered(SAID))
def test_a_mistake_is_told_in_a_line_with_its_numbers_and_nothing_is_written(
    row: int, text: str, said: str, netdsl: Commands
) -> None:
    netdsl.write(main=text)
    Path("folder").mkdir()
    Path("old.onnx").write_bytes(b"old")
    before = sorted(path.name for path in netdsl.folder.iterdir())
    checked = netdsl("check", "main.net", "--format", "short")
    assert checked.code == 1
    (line,) = [line for line in checked.err.splitlines() if "error[" in line]
    assert said in line
    assert line.startswith("main.net:" if row not in (57, 58) else "error[")
    compiled = netdsl("compile", "main.net", "-o", "new.onnx")
    assert compiled.code == 1
    assert netdsl("compile", "main.net", "-o", "old.onnx", "--force").code == 1
    assert Path("old.onnx").read_bytes() == b"old"
    assert sorted(path.name for path in netdsl.folder.iterdir()) == before


HINTS = [
    (3, "netwrok a { input x 4; relu }", "did you mean `net`?"),
    (10, "net a { input \u0441 4; relu }", "write `c`"),
    (11, IMAGE + "relus\n}", "did you mean `relu`?"),
    (11, IMAGE + "Conv4d 3x3 64\n}", "did you mean `conv`?"),
    (11, IMAGE + "Relus\n}", "did you mean `relu`?"),
    (12, IMAGE + "conv 3x3 64 strid 2\n}", "did you mean `stride`?"),
    (15, IMAGE + "stem: relu\n  add { relu } stme\n}", "did you mean `stem`?"),
    (
        35,
        "net a { input x 224x224; conv 7x7 64 }",
        "shapes begin with the channels: with one channel this is 1x224x224",
    ),
    (35, "net a { input x 28x28x1; conv 5x5 6 pad 0 }", "channels come first: `1x28x28`"),
    (38, IMAGE + "reshape 5x5\n}", "write `[5, ?]` to compute the last size"),
]


@pytest.mark.parametrize(("text", "help"), [case[1:] for case in HINTS], ids=numbered(HINTS))
def test_the_way_out_is_shown(text: str, help: str, netdsl: Commands) -> None:
    netdsl.write(main=text)
    ran = netdsl("check", "main.net")
    assert ran.code == 1
    assert f"= help: {help}" in ran.err


def test_channels_that_come_last_are_a_warning_where_they_can_be_meant(netdsl: Commands) -> None:
    netdsl.write(main="net a { input x 224x224x3; conv 7x7 64 stride 3 }")
    ran = netdsl("check", "main.net")
    assert ran.code == 0
    assert "warning[W0305]: 224x224x3 means 224 channels of 224x3" in ran.err
    assert "= help: channels come first: `3x224x224`" in ran.err
    for fine in ("64x3", "128x4x3", "17x19x19", "512x1x1", "3x3x3"):
        netdsl.write(main=f"net a {{ input x {fine}; conv 1 4 }}")
        assert "W0305" not in netdsl("check", "main.net").err


def test_two_networks_and_none_chosen(netdsl: Commands) -> None:
    netdsl.write(main="net a { input x 4; relu }\nnet b { input x 4; relu }")
    ran = netdsl("compile", "main.net", "-o", "m.onnx")
    assert ran.code == 1
    assert "2 nets: a, b" in ran.err
    assert "choose one, as in `main.net:a`" in ran.err
    assert netdsl("compile", "main.net:b", "-o", "m.onnx").code == 0


def test_several_mistakes_are_told_at_once_and_each_once(netdsl: Commands) -> None:
    netdsl.write(main=IMAGE + "relus\n  conv 3x3 64.5\n  add { relu } missing\n  bn eps -1\n  dense 10\n}")
    lines = netdsl("check", "main.net", "--format", "short").err.splitlines()
    assert [line.split(": ")[1] for line in lines if "error[" in line] == [
        "error[E0202]",
        "error[E0401]",
        "error[E0203]",
        "error[E0108]",
    ]


# --- files ---------------------------------------------------------------------------------------------------------

BYTES = [
    (57, b"net a {\n  # caf\xe9\n}", 1, "main.net is not valid UTF-8 at byte 15 (line 2): 0xe9"),
    (57, b"\xff", 1, "main.net is not valid UTF-8 at byte 0 (line 1): 0xff"),
    (58, b"net a {\0}", 1, "main.net is not text: NUL character at byte 7 (line 1)"),
    (59, "net".encode("utf-16"), 1, "main.net is UTF-16 text\n  = help: save it as UTF-8"),
    (61, b"# " + b"x" * 10_000_000, 1, "main.net is larger than 2,000,000 bytes, the limit of a source"),
    (61, b"relu\n" * 2_000_000, 1, "main.net is larger than 2,000,000 bytes, the limit of a source"),
]


@pytest.mark.parametrize(("data", "code", "said"), [case[1:] for case in BYTES], ids=numbered(BYTES))
def test_what_is_no_source_is_told_with_its_place(data: bytes, code: int, said: str, netdsl: Commands) -> None:
    Path("main.net").write_bytes(data)
    ran = netdsl("check", "main.net")
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error[E060")
    assert said in ran.err


def test_marks_line_ends_and_tabs_give_the_same_model(netdsl: Commands) -> None:
    def compiled(text: str) -> onnx.ModelProto:
        Path("a.net").write_bytes(text.encode())
        assert netdsl("compile", "a.net", "-o", "a.onnx", "--force").code == 0
        return onnx.load("a.onnx")

    text = "# A net.\nnet a {\n  input x 4 # here\n\n  dense 3; relu\n}\n"
    model = compiled(text)
    for same in ("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), text.removesuffix("\n")):
        assert compiled(same) == model
    tabs = compiled(text.replace(" ", "\t"))
    assert tabs.graph.initializer == model.graph.initializer
    (digest,) = [other for other, own in zip(tabs.metadata_props, model.metadata_props, strict=True) if other != own]
    assert digest.key == "netdsl.source_sha256"
    for end in ("\n", "\r\n", "\r"):
        Path("b.net").write_bytes(f"\ufeff# one{end}{end}net a {{{end}  input x 4{end}\trelus{end}}}".encode())
        assert netdsl("check", "b.net", "--format", "short").err.startswith("b.net:5:2: error[E0202]")


OUTSIDE = [
    "../secret.net",
    "/etc/passwd",
    "../../../../../../etc/passwd",
    "file:///etc/passwd",
    "http://a/b.net",
    "link.net",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leaves_the_root_or_shows_what_is_there(path: str, netdsl: Commands) -> None:
    Path("inner").mkdir()
    Path("secret.net").write_text("let secret = hunter2\n")
    Path("inner/link.net").symlink_to("../secret.net")
    Path("inner/main.net").write_text(f'use "{path}"\n' + DENSE)
    ran = netdsl("check", "inner/main.net")
    assert ran.code == 1
    assert "error[E0502]" in ran.err
    assert "hunter2" not in ran.err
    assert "root:" not in ran.err


def test_a_circle_of_files_is_printed(netdsl: Commands) -> None:
    netdsl.write(a='use "b.net"\n' + DENSE, b='use "c.net"\n', c='use "b.net"\n')
    ran = netdsl("check", "a.net")
    assert ran.code == 1
    assert "b.net → c.net → b.net" in ran.err
    assert "imported at b.net:1:5" in ran.err
    assert "imported at a.net:1:5" in ran.err


def test_files_that_use_the_next_twice_are_read_once(netdsl: Commands) -> None:
    for number in range(40):
        name = f"f{number + 1}.net"
        Path(f"f{number}.net").write_text(f'use "{name}"\nuse "./{name}"\nuse "../{netdsl.folder.name}/{name}"\n')
    Path("f40.net").write_text("block b { relu }\n")
    Path("f0.net").write_text(Path("f0.net").read_text() + DENSE)
    assert netdsl("check", "f0.net").code == 0


@posix
@pytest.mark.parametrize(
    ("path", "code", "said"),
    [
        ("gone.net", 2, "error[E0601]: there is no file gone.net"),
        ("folder.net", 2, "error[E0602]: folder.net is a folder, not a file"),
        ("pipe.net", 2, "error[E0603]: pipe.net cannot be read: nobody writes into this pipe"),
        ("/dev/zero", 1, "error[E0604]: /dev/zero is larger than 2,000,000 bytes, the limit of a source"),
        ("-", 1, "error[E0208]: the file defines no net"),
    ],
)
def test_what_is_no_file_is_told_in_a_line(path: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "folder.net").mkdir()
    os.mkfifo(tmp_path / "pipe.net")
    ended, text, peak = bounded(tmp_path, path)
    assert (ended, said in text) == (code, True), text
    assert peak < MEMORY


def test_escape_sequences_do_nothing(netdsl: Commands) -> None:
    Path("main.net").write_bytes(b'net a { input x 4; # \x1b]0;title\x07\n  dense "\x1b[31mred" # \x1b[2J\x7f\n}')
    for form in ("text", "short", "json", "github"):
        ran = netdsl("check", "main.net", "--format", form)
        assert ran.code == 1
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", ran.err + ran.out)
    assert "\\x1b[31mred" in netdsl("check", "main.net").err


# --- bounds --------------------------------------------------------------------------------------------------------

MEMORY = 300_000_000
SECONDS = 60
"""Of work; on an idle machine each takes two at most, and a hang takes all."""


CHECK = """
import re, sys
from pathlib import Path
from netdsl.cli import entry
sys.argv[1:1] = ["check"]
try:
    entry()
finally:  # the system's own figure would include the process that began this one
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\\s*(\\d+)", status.read_text()) if status.exists() else None
    Path("peak.txt").write_text(found[1] if found else "0")
"""


def bounded(folder: Path, file: str) -> tuple[int, str, int]:
    """`check` in a process that is killed where it works for too long: its exit code, what it says, its memory."""
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY, 4 * MEMORY))

    with open(folder / "said.txt", "wb") as said:
        process = subprocess.run(
            [sys.executable, "-c", CHECK, file],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            preexec_fn=limit,
            check=False,
        )
    text = (folder / "said.txt").read_text("utf-8", "backslashreplace")
    assert "Traceback" not in text
    peak = folder / "peak.txt"
    return process.returncode, text, int(peak.read_text()) * 1024 if peak.exists() else 0


def twice(first: str, line: str, last: str) -> str:
    """Forty definitions, each of which uses the one before it twice."""
    return "\n".join([first, *(line.format(number, number - 1) for number in range(1, 41)), last])


BOMBS = {
    "26 a name of a megabyte": ("net a { input x 4; " + "y" * 1_000_000 + " }", "unknown layer or block `yyy"),
    "47 digits": (f"let a = {'9' * 1_900_000}", "malformed number"),
    "48 rounds": (IMAGE + "repeat 250000 { let a = 1; let b = a + a }\n}", "steps of work"),
    "48 layers": (IMAGE + "repeat 1000 { repeat 100 { conv 3x3; relu } }\n}", "100,001 layers"),
    "61 lines": ("net a { input x 4\n" + "relu\n" * 390_000 + "}", "steps of work"),
    "61 one line": ("net a { input x 4; " + "relu; " * 320_000 + "}", "steps of work"),
    "61 a comment": ("# " + "x" * 1_990_000 + "\n" + DENSE, "ok (a)"),
    "61 newlines": ("\n" * 1_990_000 + DENSE, "ok (a)"),
    "62 blocks 10,000 deep": ("net a { input x 4; " + "skip { " * 10_000 + "}" * 10_001, "more than 100 levels deep"),
    "62 blocks 100,000 deep": ("net a { input x 4; " + "skip { " * 100_000 + "}" * 100_001, "100 levels deep"),
    "62 parentheses 10,000 deep": ("let a = " + "(" * 10_000 + "1" + ")" * 10_000, "more than 100 levels deep"),
    "62 parentheses 100,000 deep": ("let a = " + "(" * 100_000 + "1" + ")" * 100_000, "more than 100 levels deep"),
    "62 minus": ("let a = " + "-" * 100_000 + "1", "more than 100 levels deep"),
    "62 lists": ("let a = " + "[" * 100_000 + "]" * 100_000, "more than 100 levels deep"),
    "63 opened": ("let a = " + "(" * 100_000, "more than 100 levels deep"),
    "63 a sum": (f"let n = {'+'.join(['1'] * 100_000)}\nnet a {{ input x 4; dense n }}", "ok (a)"),
    "66 blocks": (twice("block b0 { }", "block b{0} {{ b{1}; b{1} }}", "net a { input x 4; b40 }"), "steps of work"),
    "66 lists": (twice("let l0 = [1]", "let l{0} = [l{1}, l{1}]", "net a { input x 4; dense l40 }"), "steps of work"),
    "weights of one layer": ("net a { input x 2x3; lstm 4 layers 100000000 }", "an integer from 1 to 1000"),
    "weights of layers": ("net a { input x 2x3; for i in range(2000) { gru i + 1 layers 1000 } }", "steps of work"),
    "channels": ("net a { input x 2147483646x2; rope 1 }", "ok (a)"),
    "mistakes": ("net a { input x 4\n" + "relus; conv ]; dense 3 =>\n" * 20_000 + "}", "100 errors, and more"),
    "unknown names": (
        "".join(f"let v{n} = 1\n" for n in range(10_000)) + "net a { input x 4\n" + "dense vx\n" * 10_000 + "}",
        "100 errors, and more",
    ),
}  # fmt: skip


@posix
@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS)
def test_no_program_takes_long_or_much_memory(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "main.net").write_text(text, "utf-8")
    code, told, peak = bounded(tmp_path, "main.net")
    assert said in told[:2_000] + told[-2_000:]
    assert code == (0 if "ok (" in said else 1)
    assert len(told) < 100_000
    assert peak < MEMORY


# --- what must not be rejected -------------------------------------------------------------------------------------

ACCEPTED = {
    "odd sizes, 227": "input x 3x227x227; conv 11x11 4 stride 4 pad 0; maxpool 3x3 stride 2; global_avgpool; dense 2",
    "odd sizes, 299": "input x 3x299x299; conv 3x3 4 stride 2 pad 0; maxpool 3x3 stride 2; global_avgpool; dense 2",
    "1x1 after global pooling": "input x 3x8x8; global_avgpool; conv 1x1 4; relu; conv 1x1 2; expect 2x1x1",
    "1x7 and 7x1 kernels": "input x 3x9x9; conv 1x7 4; conv 7x1 4; expect 4x9x9",
    "dilation": "input x 3x9x9; conv 3x3 4 dilation 2; expect 4x9x9",
    "stride larger than the kernel": "input x 3x9x9; conv 1x1 4 stride 2; maxpool 2x2 stride 3",
    "asymmetric pads": "input x 3x9x9; conv 3x3 4 pad [0, 1, 2, 1]; conv 2x2 4 pad [0, 0, 1, 1]",
    "as many groups as channels": "input x 8x9x9; conv 3x3 8 groups 8; conv 3x3 8 groups channels; dwconv 3x3",
    "a perceptron of one layer": "input x 4; dense 1; step",
    "a chain of 1000 layers": "input x 4; repeat 1000 { relu }",
    "a symbolic size": "input x [3, ?H, ?W]; conv 3x3 4; global_avgpool; dense 2",
    "one channel": "input x 1x28x28; conv 5x5 6; maxpool 2x2; dense 10",
    "concat of three": "input x 3x8x8; concat { } { relu } { conv 3x3 4 }; expect 10x8x8",
    "concat of a hundred": "input x 3x8x8; concat for i in range(100) { conv 1x1 1 }; expect 100x8x8",
    "a value read by three branches": "input x 3x8x8; a: conv 3x3 4; add a { relu } { sigmoid } { from a; tanh }",
    "labels that are keywords": "input x 3x8x8; repeat: conv 3x3 4; skip: relu; add repeat skip",
    "trailing commas": "input x [3, 8, 8,]; conv [3, 3,] 4; dense max(2, 3,)",
    "lrn behind a pool": "input x 3x8x8; maxpool 3x3 stride 2; lrn 5",
    "ceil pools": "input x 3x8x8; maxpool 3x3 stride 2 ceil on; expect 3x4x4; avgpool 3x3 stride 2 ceil on",
    "no bias": "input x 3x8x8; conv 3x3 4 bias off; dense 2 bias off",
    "bn without affine": "input x 3x8x8; bn affine off",
    "several outputs": "input x 3x8x8; conv 3x3 4; output side { dense 2 }; relu; output end { dense 3 }",
    "a training head": "input x 3x8x8; conv 3x3 4; output aux training { dense 2 }; relu; dense 3",
    "repeat 1": "input x 4; repeat 1 { relu }",
    "repeat 0": "input x 4; repeat 0 { relus }; relu",
    "an input that is the output": "input x 3x8x8; output y",
    "bn on features": "input x 4; dense 8 bias off; bn; relu",
    "dense on a picture": "input x 3x8x8; dense 10",
    "a gate that is not a sum": "input x 3x8x8; mul { global_avgpool; conv 1x1 3; sigmoid }",
    "a pool larger than its input": "input x 3x4x4; adaptive_avgpool 7x7; expect 3x7x7",
    "names like generated ones": "input x 4; conv1_1: dense 4; output_0: relu; Gemm: dense 4; input: relu",
}

SHARED = "block unit(w) { conv 3x3 w; relu }\nnet main { input x 3x8x8; repeat 50 { unit 4 }; dense 2 }"


def runs(text: str) -> None:
    """Compile a text's net, and run it on zeros; 9 stands for sizes that are known only then."""
    import onnxruntime

    data = compile_to_bytes(net_of(text))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    feeds = {
        port.name: np.zeros([2, *(n if isinstance(n, int) else 9 for n in port.shape[1:])], np.float32)
        for port in session.get_inputs()
    }
    for value in session.run(None, feeds):
        assert np.isfinite(value).all()


@pytest.mark.parametrize(
    "text", [*(f"net main {{ {body} }}" for body in ACCEPTED.values()), SHARED], ids=[*ACCEPTED, "shared"]
)
def test_what_is_right_is_checked_compiled_and_run(text: str, netdsl: Commands) -> None:
    netdsl.write(main=text)
    ran = netdsl("check", "main.net")
    assert (ran.code, "error" in ran.err) == (0, False), ran.err
    runs(text)


def test_exact_figures_however_large(netdsl: Commands) -> None:
    """Row 56: no figure is cut to 64 bits."""
    text = "net main {{ input x 2147483647x2147483647; conv 1 2; expect macs {} }}"
    netdsl.write(main=text.format(2147483647 * 2147483647 * 2), other=text.format(1))
    assert netdsl("check", "main.net").code == 0
    assert "9,223,372,028,264,841,218" in netdsl("check", "other.net").err
