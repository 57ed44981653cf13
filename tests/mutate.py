"""Mutation testing: change the package in one place at a time, and see whether a test fails.

    python -m tests.mutate --measure                # once: which test reaches which line, and how long it takes
    python -m tests.mutate --count 300 --seed 1     # then

Mutants are drawn from every room of the package. Each is written into a copy of the tree, where the fastest tests
that reach its line run until one fails. The processes that run them are forked from one that has imported numpy and
onnxruntime. Results are appended to `.mutate/results.jsonl`, and a mutant that stands there is not run again.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parent.parent
WORK = ROOT / ".mutate"
UNMEASURED = {
    "test_house",
    "test_packaging",
    "test_fuzz",
    "test_fuzz_imports",
    "test_readme",
    "test_docs",
    "test_other_tools",
    "test_os",
}
"""Tests of everything at once, which reach every line slowly, and tests of the machine."""

SWAPS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "+"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int
    start: int
    end: int
    new: str
    old: str

    @property
    def room(self) -> str:
        folders = Path(self.file).parts[1:-1]
        return "/".join(folders) or "netdsl"

    @property
    def key(self) -> str:
        return f"{self.file}:{self.line}:{self.start}:{self.old!r} -> {self.new!r}"


class Sites:
    """The places of one file that can be changed, and what to."""

    def __init__(self, file: Path) -> None:
        self.file = file.relative_to(ROOT).as_posix()
        self.source = file.read_bytes()
        self.starts = [0]
        for line in self.source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: list[Mutant] = []
        self.visit(ast.parse(self.source))

    def visit(self, node: ast.AST) -> None:
        if self.skipped(node):
            return
        self.mutate(node)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_params"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)

    def skipped(self, node: ast.AST) -> bool:
        """Whether a change could not matter: types, messages, and asserts of what is impossible."""
        if isinstance(node, ast.If):
            return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        if isinstance(node, ast.Assign):
            return any(
                isinstance(target, ast.Name) and target.id in ("__all__", "__slots__") for target in node.targets
            )
        if isinstance(node, ast.Raise):
            return ast.unparse(node).startswith("raise AssertionError")
        return isinstance(node, ast.Assert | ast.JoinedStr)

    def mutate(self, node: ast.AST) -> None:
        match node:
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                self.between(left, right, op)
            case ast.BinOp(left=left, op=op, right=right) if not isinstance(left, ast.JoinedStr):
                self.between(left, right, op)
            case ast.BoolOp(op=op, values=values):
                self.between(values[0], values[1], op)
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                self.add(node, self.text(operand))
            case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.NamedExpr):
                self.add(test, f"(not ({self.text(test)}))")
            case ast.Constant(value=bool() as value):
                self.add(node, str(not value))
            case ast.Constant(value=int() | float() as value):
                self.add(node, f"({value!r} + 1)")
            case ast.Call(func=ast.Name(id=name) as func) if name in CALLS:
                self.add(func, CALLS[name])
            case ast.Call(keywords=[*_, ast.keyword(arg=str() as name) as last]) if node.args and name != "strict":
                self.drop(node, last)
            case ast.Expr(value=ast.Call() | ast.YieldFrom()) | ast.AugAssign() | ast.Raise():
                self.add(node, "pass")
            case ast.Continue() | ast.Break():
                self.add(node, "break" if isinstance(node, ast.Continue) else "continue")

    def offset(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def text(self, node: ast.expr | ast.stmt) -> str:
        return self.source[self.offset(node.lineno, node.col_offset) : self._end(node)].decode()

    def _end(self, node: ast.expr | ast.stmt | ast.keyword) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.end_lineno, node.end_col_offset)

    def add(self, node: ast.expr | ast.stmt, new: str) -> None:
        self._add(node.lineno, self.offset(node.lineno, node.col_offset), self._end(node), new)

    def _add(self, line: int, start: int, end: int, new: str) -> None:
        self.found.append(Mutant(self.file, line, start, end, new, self.source[start:end].decode()))

    def between(self, left: ast.expr, right: ast.expr, op: ast.AST) -> None:
        if type(op) not in SWAPS:
            return
        old, new = SWAPS[type(op)]
        start, end = self._end(left), self.offset(right.lineno, right.col_offset)
        at = self.source.find(old.encode(), start, end)
        if at >= 0:
            self._add(right.lineno, at, at + len(old), new)

    def drop(self, call: ast.Call, keyword: ast.keyword) -> None:
        """Leave out the last argument by keyword."""
        before = [*call.args, *(each.value for each in call.keywords[:-1])][-1]
        if self._end(before) < self._end(keyword):
            self._add(keyword.lineno, self._end(before), self._end(keyword), "")


def mutants(count: int, seed: int, rooms: list[str]) -> list[Mutant]:
    """Draw mutants: a few from every room, and more from larger ones."""
    by_room: dict[str, list[Mutant]] = defaultdict(list)
    for file in sorted((ROOT / "netdsl").rglob("*.py")):
        for mutant in Sites(file).found:
            by_room[mutant.room].append(mutant)
    total = sum(map(len, by_room.values()))
    drawn = []
    for room, each in sorted(by_room.items()):
        random.Random(f"{seed} {room}").shuffle(each)
        if not rooms or room in rooms:
            drawn += islice(filter(compiles, each), max(4, round(count * len(each) / total)))
    random.Random(seed).shuffle(drawn)
    return drawn


def changed(mutant: Mutant) -> bytes:
    source = (ROOT / mutant.file).read_bytes()
    return source[: mutant.start] + mutant.new.encode() + source[mutant.end :]


def compiles(mutant: Mutant) -> bool:
    try:
        ast.parse(changed(mutant))
    except SyntaxError:
        return False
    return True


# --- which tests reach a line


def measure() -> None:
    """Run each test file under coverage, where its tests are told apart."""
    WORK.mkdir(exist_ok=True)
    for file in sorted((ROOT / "tests").glob("*/test_*.py")):
        data, timing = WORK / f"{file.stem}.cov", WORK / f"{file.stem}.xml"
        if file.stem in UNMEASURED or timing.exists():
            continue
        command = [sys.executable, "-m", "coverage", "run", f"--data-file={data}"]
        command += ["-m", "pytest", "-q", f"--junitxml={timing}", str(file)]
        subprocess.run(command, cwd=ROOT, check=False)


def measured(path: Path) -> tuple[dict[str, float], dict[str, dict[str, list[str]]]]:
    """Of one test file, the seconds of each test function, and those that reach each line of each file."""
    cache = path.with_suffix(".json")
    if cache.exists() and cache.stat().st_mtime >= path.stat().st_mtime:
        seconds, lines = json.loads(cache.read_text())
        return seconds, lines
    from coverage import CoverageData

    seconds = defaultdict(float)
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("skipped") is None:
            name = f"{case.get('classname', '').split('.')[-1]}.{case.get('name', '').split('[')[0]}"
            seconds[name] += float(case.get("time", 0))
    data = CoverageData(basename=str(path.with_suffix(".cov")))
    data.read()
    lines = {}
    for file in data.measured_files():
        found = data.contexts_by_lineno(file)
        reached = {str(line): [name for name in names if name in seconds] for line, names in found.items()}
        lines[Path(file).relative_to(ROOT).as_posix()] = {line: names for line, names in reached.items() if names}
    cache.write_text(json.dumps([seconds, lines]))
    return seconds, lines


class Reach:
    """The tests that reach a line, those first that take little time and reach few other files."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, list[dict[str, list[str]]]] = defaultdict(list)
        files: dict[str, int] = Counter()
        for path in sorted(WORK.glob("*.xml")):
            seconds, lines = measured(path)
            self.seconds |= seconds
            for file, each in lines.items():
                self.lines[file].append(each)
                files.update({name for names in each.values() for name in names})
        self.order = {name: time * files[name] for name, time in self.seconds.items()}

    def tests(self, mutant: Mutant) -> list[str]:
        """Test functions; where a line runs at import, those that reach its file."""
        lines = self.lines[mutant.file]
        names = {name for each in lines for name in each.get(str(mutant.line), ())}
        names = names or {name for each in lines for found in each.values() for name in found}
        return sorted(names, key=lambda name: self.order[name])

    def chosen(self, mutant: Mutant, budget: float, most: int) -> list[str]:
        """The first of them that take this time together, one at least."""
        tests: list[str] = []
        left = budget
        for name in self.tests(mutant)[:most]:
            left -= self.seconds[name]
            if left < 0 and tests:
                break
            file, function = name.split(".")[-2:]
            (path,) = (ROOT / "tests").glob(f"*/{file}.py")
            tests.append(f"{path.relative_to(ROOT)}::{function}")
        return tests


# --- running


def preload() -> None:
    import h5py  # noqa: F401
    import hypothesis  # noqa: F401
    import lark  # noqa: F401
    import numpy  # noqa: F401
    import onnx.reference  # noqa: F401
    import onnxruntime  # noqa: F401
    import PIL.Image  # noqa: F401
    import pytest  # noqa: F401


def run(tests: list[str], tree: Path, limit: float) -> tuple[str, str]:
    """Run tests until one fails, in a process forked from this one: (`killed`, `survived` or `timeout`, its output)."""
    log = tree / "log"
    child = os.fork()
    if child == 0:
        os.setsid()
        out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.chdir(tree)
        sys.path.insert(0, str(tree))
        os.environ["PYTHONPATH"] = str(tree)
        import pytest

        code = pytest.main(["-x", "-q", "--tb=short", "-p", "no:cacheprovider", *tests])
        for name in ("netdsl", "tests.support.paths"):
            if (module := sys.modules.get(name)) and not Path(str(module.__file__)).is_relative_to(tree):
                os.write(2, f"{name} is not the copy in {tree}".encode())
                code = pytest.ExitCode.USAGE_ERROR
        os._exit(int(code))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            text = log.read_text(errors="replace")
            assert code not in (4, 5) or "ERROR collecting" in text, text
            return ("survived" if code == 0 else "killed"), text
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", log.read_text(errors="replace")


def copied() -> Path:
    """A copy of the tree with its compiled modules: the package's are compared with their sources, not with times."""
    tree = WORK / "tree"
    ignored = shutil.ignore_patterns(".git", ".venv", ".mutate", "__pycache__", ".*_cache", ".hypothesis")
    shutil.copytree(ROOT, tree, ignore=ignored, dirs_exist_ok=True)
    compile_all = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "netdsl"]
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for command in (compile_all, collect):
        subprocess.run(command, cwd=tree, check=True, env=environment, stdout=subprocess.DEVNULL)
    return tree


def judged(drawn: list[Mutant], budget: float, most: int, until: float, again: bool) -> Iterator[dict[str, object]]:
    """The result of each mutant that has none yet."""
    results = WORK / "results.jsonl"
    before = {r["key"]: r for r in map(json.loads, results.read_text().splitlines())} if results.exists() else {}
    reach = Reach()
    preload()
    tree = copied()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    sys.dont_write_bytecode = True
    for mutant in drawn:
        known = before.get(mutant.key)
        if known and known["result"] != "unreached" and not (again and known["result"] == "survived"):
            yield known
            continue
        if time.monotonic() > until:
            return
        tests = reach.chosen(mutant, budget, most)
        target = tree / mutant.file
        whole = target.read_bytes()
        target.write_bytes(changed(mutant))
        begin = time.monotonic()
        result, log = run(tests, tree, 60 + 8 * budget) if tests else ("unreached", "")
        target.write_bytes(whole)
        failed = [line for line in log.splitlines() if line.startswith(("FAILED", "ERROR"))][:1]
        seconds = round(time.monotonic() - begin, 1)
        found = {"key": mutant.key, **asdict(mutant), "room": mutant.room, "result": result}
        found |= {"tests": len(tests), "seconds": seconds, "by": failed}
        with results.open("a") as file:
            file.write(json.dumps(found) + "\n")
        yield found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=__doc__)
    parser.add_argument("--measure", action="store_true", help="measure which test reaches which line")
    parser.add_argument("--count", type=int, default=300, help="number of mutants (default: 300)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the draw (default: 1)")
    parser.add_argument("--rooms", nargs="*", default=[], help="folders of the package (default: all)")
    parser.add_argument("--seconds", type=float, default=20, help="time limit for the tests of a mutant (default: 20)")
    parser.add_argument("--tests", type=int, default=30, help="maximum number of tests per mutant (default: 30)")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after this time; another run continues")
    parser.add_argument("--again", action="store_true", help="rerun the survivors")
    options = parser.parse_args()
    if options.measure:
        measure()
        return
    until = time.monotonic() + 60 * options.minutes
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    drawn = mutants(options.count, options.seed, options.rooms)
    for found in judged(drawn, options.seconds, options.tests, until, options.again):
        counts[str(found["room"])][str(found["result"])] += 1
        if found["result"] != "killed":
            print(found["result"], found["key"], f"({found['tests']} tests)", flush=True)
    total = sum(sum(each.values()) for each in counts.values())
    print(f"{total} of {len(drawn)}")
    for room, each in sorted(counts.items()):
        print(f"{room:20}", ", ".join(f"{count} {result}" for result, count in sorted(each.items())))


if __name__ == "__main__":
    main()
