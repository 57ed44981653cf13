"""One budget for everything that reading and checking a text costs: whatever it is spent on, it ends."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path

import pytest

from netdsl.app.analyse import check_file
from netdsl.app.repair import verify_suggestions
from netdsl.base.limits import LAYERS, NAME, NESTING, RANK, ROUNDS, WORK
from netdsl.base.text import Source
from netdsl.diagnostics.report import CALL, LAYER, MOST_ERRORS, ROUND, STATEMENT, TOKEN, Cancelled, Report, Work
from tests.support.cli_tools import Commands, netdsl  # noqa: F401


def lines(count: int, line: Callable[[int], str], last: str = "") -> str:
    return "\n".join([*map(line, range(1, count)), last])


def twice(first: str, line: str, last: str) -> str:
    """Forty definitions, each of which uses the one before it twice; `{0}` is its number, `{1}` that one's."""
    return lines(41, lambda i: line.format(i, i - 1), last).join((first, ""))


def nested(count: int) -> str:
    """Block calls within one another."""
    blocks = lines(count, lambda i: f"block b{i + 1} {{ b{i} }}")
    return f"block b1 {{ relu }}\n{blocks}\nnet a {{ input x 4; b{count} }}"


BUDGET = WORK // 10
"""The budget of the tests that spend all of it. Those of limits have the whole one."""

DOUBLED = twice("let a0 = [1, 1]\n", "let a{0} = [a{1}, a{1}]", "")
LONG = "y" * (NAME // 2)

SPENT = {
    "tokens": "let a = [" + "1, " * (BUDGET // TOKEN // 2) + "1]",
    "comments": "#\n" * (BUDGET // TOKEN),
    "nets": lines(30_000, lambda i: f"net a{i} = a0()", "net a0 { input x 4; relu }"),
    "big nets": lines(200, lambda i: f"net a{i} {{ input x 4; repeat 10000 {{ relu }} }}"),
    "values of a domain": "net a(n in range(5000) = 1) { input x 4; repeat 100 { dense n + 1 } }",
    "values of domains": f"net a({', '.join(f'n{i} in range(300) = 1' for i in range(200))}) {{ input x 4; relu }}",
    "aliases of aliases": "net a0(n = 1) { input x 4; relu }\n" + lines(5000, lambda i: f"net a{i} = a{i - 1}()"),
    "blocks": twice("block b0 { }\n", "block b{0} {{ b{1}; b{1} }}", "net a { input x 4; b40 }"),
    "blocks of layers": twice("block b0 { relu }\n", "block b{0} {{ b{1}; b{1} }}", "net a { input x 4; b40 }"),
    "functions": twice("fn f0(x) = x\n", "fn f{0}(x) = f{1}(2*x) + f{1}(2*x + 1)", "let a = f40(1)"),
    "equal lists": DOUBLED + DOUBLED.replace("a", "b") + "let c = 1 if a40 == b40 else 2",
    "a list as an argument": DOUBLED + "fn f(x) = 3\nlet b = f(a40)",
    "a list as a size": DOUBLED + "net a { input x 4; dense a40 }",
    "a list in a domain": DOUBLED + "net a(n in [a40] = a40) { input x 4; relu }",
    "a list in an about": DOUBLED + "net a { input x 4; about { year (a40) } }",
    "long lists": lines(50, lambda i: f"let a{i} = enumerate(range(200000))"),
    "sums of lists": "let r = range(200000)\nnet a { input x 4; repeat 1000 { let b = sum(r) } }",
    "sums after a list repeated less than no times": "let r = range(200000)\n"
    "net a { input x 4; let e = [1] * (0 - 10**15); repeat 1000 { let b = sum(r) } }",
    "rounds": "net a { input x 4; repeat 200000 { let p = 1; let q = 2; let r = p + q; let s = r + r } }",
    "statements": f"net a {{ input x 4; repeat 10000 {{ {'if off { };' * 200} }} }}",
    "terms of sizes": f"net a {{ input x [3, ?H]; let s = {'+'.join(f'(?H + {i})//{i + 2}' for i in range(4000))} }}",
    "macs": "net a { input x 4; repeat 10000 { relu }; repeat 1000 { expect macs 0 } }",
    "layers with long names": f"net a {{ input x 4; {LONG}: {{ repeat 99000 {{ dense 4 }} }} }}",
}

LIMITS = {
    "layers": (f"net a {{ input x 4; repeat {LAYERS // 2} {{ relu; relu }}; relu }}", "100,001 layers exceed"),
    "reuse": (
        twice("net a { input x 4; l0: relu\n", "l{0}: {{ reuse l{1}; reuse l{1} }}", "}"),
        "100,001 layers exceed",
    ),
    "rounds": (f"net a {{ input x 4; repeat {ROUNDS + 1} {{ }} }}", "250,001 rounds"),
    "a name": (f"net a {{ input x 4; {LONG}: {{ {LONG}: relu }} }}", "1,001 characters of a name"),
    "block calls": (nested(NESTING + 1), "101 nested block calls exceed the limit of 100"),
    "axes": (f"net a {{ input x [2] * {RANK + 1}; relu }}", "a shape of at most 32 sizes"),
    "a fraction": ("let a = 2**4000 / 3**2000 / 5**2000", "the result is too large"),
    "a fraction's power": ("let a = (1/3)**1000000000", "the result is too large"),
    "a negative power": ("let a = 2**-1000000000", "the result is too large"),
}


def problems(text: str) -> tuple[Report, list[str]]:
    with open("main.net", "w", encoding="utf-8") as file:
        file.write(text)
    report = Report()
    check_file("main.net", report)
    return report, [f"{p.code}: {p.message()}" for p in report]


@pytest.fixture(autouse=True)
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.diagnostics.report.WORK", BUDGET)


@pytest.mark.usefixtures("small_budget")
@pytest.mark.parametrize("text", SPENT.values(), ids=SPENT)
def test_work_ends_whatever_it_is_spent_on(text: str) -> None:
    report, told = problems(text)
    assert report.work.left < 0
    assert len([line for line in told if line.endswith(f"steps of work exceed the limit of {BUDGET:,}")]) == 1


@pytest.mark.parametrize(("text", "said"), LIMITS.values(), ids=LIMITS)
def test_each_limit_is_one(text: str, said: str) -> None:
    _, told = problems(text)
    assert len(told) == 1
    assert said in told[0]


SUMS = "; ".join(f"let s{at} = sum(r)" for at in range(4))
"""Most of the small budget."""

SPENT_IN = {
    "rounds": "repeat {ROUNDS} {{ c }}; repeat 9 {{ }}",
    "rounds of a for": "for i in range({ROUNDS}) {{ c }}; for i in range(9) {{ }}",
    "rounds multiplied": "repeat 1000 {{ repeat 1000 {{ }} }}",
    "block calls": "repeat {ROUNDS} {{ c }}",
    "arithmetic": "repeat 200000 {{ let p = 1; let q = 2; let r = p + q; let s = r + r }}",
    "lists": "let r = range(200000); repeat 1000 {{ let s = sum(r) }}",
    "rounds at last": "let r = range(200000); {SUMS}; repeat 200000 {{ }}",
    "layers": "repeat {LAYERS} {{ relu; relu }}",
    "weights": "repeat 400 {{ dense 100000 }}",
    "names": "{LONG}: {{ {LONG}: relu }}",
    "statements": "repeat 10000 {{ {IFS} }}",
}


@pytest.mark.usefixtures("small_budget")
@pytest.mark.parametrize("call", ["b 1", "add { } { b 1 }", "d 1"])
@pytest.mark.parametrize("what", SPENT_IN)
def test_a_budget_that_is_spent_in_a_block_is_told_with_its_call(
    netdsl: Commands,  # noqa: F811
    what: str,
    call: str,
) -> None:
    body = SPENT_IN[what].format(ROUNDS=ROUNDS, LAYERS=LAYERS, LONG=LONG, IFS="if off { };" * 200, SUMS=SUMS)
    blocks = f"block c {{ }}\nblock b(n) {{ {body} }}\nblock d(n) {{ b n }}\n"
    netdsl.write(main=f"{blocks}net a {{\n  input x 100000\n  {call}\n}}")
    ran = netdsl("check", "main.net")
    assert ran.code == 1
    assert ran.err.count("error[") == 1, ran.err
    assert "exceed the limit of" in ran.err
    place = "3:14" if call == "d 1" else f"6:{3 + call.index('b 1')}"
    assert f"in block `b`, called at main.net:{place}" in ran.err
    assert ("in block `d`, called at main.net:6:3" in ran.err) == (call == "d 1")


def test_problems_are_work_too() -> None:
    report, told = problems("net a { input x 4; repeat 200000 { dense 3x3 } }")
    assert report.work.left < 0
    assert sorted(line.split(":")[0] for line in told) == ["E0314", "E0401"]


WITHIN = {
    "terms": f"let n = {'+'.join(['1'] * 100_000)}\nnet a {{ input x 4; dense n }}",
    "layers": f"net a {{ input x 4; repeat {LAYERS - 1} {{ relu }} }}",
    "rounds": f"net a {{ input x 4; for i in range({ROUNDS}) {{ }} }}",
    "block calls": nested(NESTING),
    "names": f"net a {{ input x 4; {'y' * 100}: {{ repeat 10000 {{ relu }} }} }}",
    "lines": "net a { input x 4\n" + "dense 4; relu\n" * 10_000 + "}",
}


@pytest.mark.parametrize("text", WITHIN.values(), ids=WITHIN)
def test_what_is_within_the_limits_is_checked(text: str) -> None:
    report, told = problems(text)
    assert report.errors == 0, told


@pytest.mark.parametrize("step", [1, 3, -1, -7])
def test_a_range_is_as_long_as_the_limit_and_no_longer(step: int) -> None:
    for more in (0, 1):
        stop = (ROUNDS + more) * step
        report, told = problems(f"let a = len(range(5, {5 + stop}, {step}))\nnet n {{ input x 4; dense a }}")
        assert (report.errors, "too large" in "".join(told)) == (more, bool(more)), told


COSTS = {
    "a round": ("repeat {n} {{ }}", ROUND),
    "a round of a for": ("for i in range({n}) {{ }}", ROUND),
    "a block call": ("repeat {n} {{ b }}", ROUND + CALL),
    "a layer": ("repeat {n} {{ relu }}", ROUND + LAYER),
    "a layer with weights": ("repeat {n} {{ dense 4 }}", ROUND + LAYER),
    "a statement": ("repeat {n} {{ let a = 1 }}", ROUND + STATEMENT),
    "an entry of eight arguments": ("let r = range({n}); repeat 8 {{ let a = f(r) }}", 8 * 0.25),
    "an entry of a list": ("let a = sum(range({n}))", 0.25),
}


@pytest.mark.parametrize(("statement", "cost"), COSTS.values(), ids=COSTS)
def test_work_grows_by_what_each_thing_costs(statement: str, cost: float) -> None:
    """Each costs what it says at least, and three times as much at most."""
    left = []
    for count in (1000, 3000):
        report, told = problems(f"block b {{ }}\nfn f(x) = 3\nnet a {{ input x 4; {statement.format(n=count)}; relu }}")
        assert report.errors == 0, told
        left.append(report.work.left)
    assert cost <= (left[0] - left[1]) / 2000 <= 3 * max(cost, 1)


def test_repairs_share_the_work_of_the_run() -> None:
    report, _ = problems("net a { input x 4; skip { dense 5 } }\n")
    (problem,) = report
    assert problem.verified_fixes
    report.work.left = -1
    verify_suggestions(report, problem.span.source, lambda *_: pytest.fail("no work is left"))
    assert problem.verified_fixes == ()


def test_problems_beyond_a_hundred_are_not_kept(netdsl: Commands) -> None:  # noqa: F811
    netdsl.write(main=lines(500, lambda i: f"let a{i} = 1/0"))
    ran = netdsl("check", "main.net")
    assert ran.code == 1
    assert f"{MOST_ERRORS} errors, and more\n" in ran.err


def test_what_was_checked_is_forgotten() -> None:
    text = "block b(w) { dense w }\nfn f(x) = x\nnet forgotten { input x 4; b f(3); skip { b 3 }; add { } { } }"
    for _ in range(2):
        report, _ = problems(text)
        assert any(source.text == text for source in gc.get_objects() if isinstance(source, Source))
        del report
    gc.collect()
    assert not any(source.text == text for source in gc.get_objects() if isinstance(source, Source))


def test_a_run_of_a_smaller_budget_or_one_that_is_cancelled_ends() -> None:
    source = Source("n.net", "net n { input x 4; repeat 1000 { dense 4 } }")
    report = Report(Work(5_000))
    check_file(source, report)
    assert [(p.code, p.message()) for p in report] == [("E0314", "5,006 steps of work exceed the limit of 5,000")]
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 500

    with pytest.raises(Cancelled):
        check_file(source, Report(Work(cancelled=cancelled)))
    assert asked == 501
    assert check_file(source, Report(Work(cancelled=lambda: False))) == ["n"]


def test_a_new_run_begins_with_all_of_it() -> None:
    assert Report().work.left == Work().left == WORK
