"""Text to AST: what each construct becomes, and that lay-out changes nothing that it should not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netdsl.syntax import ast
from tests.support.paths import TESTS
from tests.support.syntax_tools import dump, expression, nodes, read, short, sound

EXAMPLES = sorted((TESTS / "golden/syntax/examples").glob("*.net"))
TEXTS = [path.read_text("utf-8") for path in EXAMPLES]

EXPRESSIONS = [
    ("64", "64"),
    ("1_000", "1000"),
    ("0.5", "0.5"),
    ("5e-4", "0.0005"),
    ("1E+2", "100.0"),
    ('"a # b; {"', '"a # b; {"'),
    ("on", "True"),
    ("off", "False"),
    ("3x?x224", "3x?x224"),
    ("?x3", "?x3"),
    ("[3, 16*?H, ?]", "[3 (16 * ?H) ?]"),
    ("[1, 2,]", "[1 2]"),
    ("[]", "[]"),
    ("[2 * i for i in range(n)]", "[(2 * i) for i in (range n)]"),
    ("[a for a, b in c if a or b for d in a if d]", "[a for a b in c if (a or b) for d in a if d]"),
    ("[a if b else c\n for a in (d if e else f)]", "[(if b a c) for a in '(if e d f)]"),
    ("[[i for i in j] for j in k][0]", "(at [[i for i in j] for j in k] 0)"),
    ("a + b - c * d", "(a + b - (c * d))"),
    ("a // b % c / d", "(a // b % c / d)"),
    ("-a ** -b ** c", "(- (a ** (- (b ** c))))"),
    ("2 ** 3 ** 4", "(2 ** (3 ** 4))"),
    ("- - a", "(- (- a))"),
    ("2 * -a", "(2 * (- a))"),
    ("64 -1", "(64 - 1)"),
    ("a < b <= c != d", "(a < b <= c != d)"),
    ("not a + 1 in [b, c] and d", "((not ((a + 1) in [b c])) and d)"),
    ("[a for a in b if a in c in d]", "[a for a in b if (a in c in d)]"),
    ("not a == b and c or not d", "(((not (a == b)) and c) or (not d))"),
    ("a and b and c", "(a and b and c)"),
    ("a if b else c if d else e", "(if b a (if d c e))"),
    ("(a if b else c)", "'(if b a c)"),
    ("(a + b) * c", "('(a + b) * c)"),
    ("((a))", "'a"),
    ("table[0][-1]", "(at (at table 0) (- 1))"),
    ("a[1:-1][:b][c:][:]", "(slice (slice (slice (slice a 1 (- 1)) - b) c -) - -)"),
    ("max(a, -b, [c][0])[1]", "(at (max a (- b) (at [c] 0)) 1)"),
    ("f()", "(f)"),
    ("a.b.0.x", "a.b.0.x"),
    ("enc{i + 1}x.0.y{j}", "enc{(i + 1)}x.0.y{j}"),
    ("a.{i}.b", "a.{i}.b"),
    ("z{i}{j}3", "z{i}{j}3"),
    ("match d { 1 => a; [2, 3] => b if c else d; _ => -e }", "(match d (1 => a) ([2 3] => (if c b d)) (_ => (- e)))"),
    ("(match d {\n 1 => a # one\n\n 2 => b\n})", "'(match d (1 => a) (2 => b))"),
    ("[match d\n { 1 => [a,\n b]\n 2 => b }, \n c]", "[(match d (1 => [a b]) (2 => b)) c]"),
    ("match d { (_) => a }", "(match d ('_ => a))"),
    ("a +\n\n # more\n b *\n c", "(a + (b * c))"),
    ("a and\n b", "(a and b)"),
    ("input + layer", "(input + layer)"),
]

ARGUMENTS = [
    ("conv 11x11 96 stride 4 pad 0", "11x11 96 stride 4 pad 0"),
    ("conv 1x1 4*width", "1x1 (4 * width)"),
    ("conv 64-1", "(64 - 1)"),
    ("conv 64 - 1", "(64 - 1)"),
    ("conv 64 (-1)", "64 '(- 1)"),
    ("unit 64*2**i stride (2 if i > 0 and j == 0 else 1)", "(64 * (2 ** i)) stride '(if ((i > 0) and (j == 0)) 2 1)"),
    ("conv 2 r pad [d, 0]", "2 r pad [d 0]"),
    ("f g[0] h (1) [2]", "(at g 0) h '1 [2]"),
    ("f g(1) (2)", "(g 1) '2"),
    ("f a [\n 1,\n 2 ] b", "a [1 2] b"),
    ("f skip output training seq", "skip output training seq"),
    ("f z{i} enc{i}.x", "z{i} enc{i}.x"),
    ("f match d { 1 => 2 } 3", "(match d (1 => 2)) 3"),
    ("f x match a { _ => -1 }", "x (match a (_ => (- 1)))"),
]

STATEMENTS = [
    ("relu", "(Call (Name relu) [] [])"),
    (
        "f 8 a on { } b{i} for j in c { }\n{ }",
        "(Call (Name f) [(Number 8) (Name a) (Switch True)] "
        "[(Body []) (Path [[b (Name i)]]) (For [(Name j)] (Name c) (Body [])) (Body [])])",
    ),
    ("f 1 q k{i}", "(Call (Name f) [(Number 1) (Name q) (Path [[k (Name i)]])] [])"),
    (
        "f for j in c { } a\nfor j in c { }",
        "(Call (Name f) [] [(For [(Name j)] (Name c) (Body [])) (Name a)]) (For [(Name j)] (Name c) (Body []))",
    ),
    ("input image 3x2", "(Input (Port [image]) [(Dims [3 2])])"),
    ("input skip ? dtype u8", "(Input (Port [skip]) [(Unknown -) (Name dtype) (Name u8)])"),
    ("a: relu", "(Labelled [a] (Call (Name relu) [] []) False)"),
    ("input: relu", "(Labelled [input] (Call (Name relu) [] []) False)"),
    ("max: max a", "(Labelled [max] (Merge (Name max) - [(Name a)]) False)"),
    ("else: relu", "(Labelled [else] (Call (Name relu) [] []) False)"),
    ("relu\nproject: relu", "(Call (Name relu) [] []) (Labelled [project] (Call (Name relu) [] []) False)"),
    ("relu\nelse{i}: relu", "(Call (Name relu) [] []) (Labelled [else (Name i)] (Call (Name relu) [] []) False)"),
    ("skip{i}: seq { }", "(Labelled [skip (Name i)] (Body []) True)"),
    ("seq { relu }", "(Sequence (Body [(Call (Name relu) [] [])]))"),
    ("seq\n # b\n{ seq { } }", "(Sequence (Body [(Sequence (Body []))]))"),
    (
        "seq 3; seq: seq{ }; seq",
        "(Call (Name seq) [(Number 3)] []) (Labelled [seq] (Body []) True) (Call (Name seq) [] [])",
    ),
    ("a: seq{ relu }", "(Labelled [a] (Body [(Call (Name relu) [] [])]) True)"),
    ("from a.0.b", "(From (Path [[a] [0] [b]]))"),
    ("from output", "(From (Name output))"),
    ("a: reuse b{i}", "(Labelled [a] (Reuse (Path [[b (Name i)]])) False)"),
    ("skip { }", "(Skip - (Body []) -)"),
    ("skip{ relu } project{ bn }", "(Skip - (Body [(Call (Name relu) [] [])]) (Body [(Call (Name bn) [] [])]))"),
    ("skip if a\n{ }\n # b\n\n project\n{ }", "(Skip (Name a) (Body []) (Body []))"),
    ("concat axis -1 a { }", "(Merge (Name concat) (Unary '-' (Number 1)) [(Name a) (Body [])])"),
    ("concat a\n\n{ }\n{ }", "(Merge (Name concat) - [(Name a) (Body []) (Body [])])"),
    ("add spread on { } a", "(Merge (Name add) (Switch True) [(Body []) (Name a)])"),
    ("max spread(wide) a { }", "(Merge (Name max) (Name* wide) [(Name a) (Body [])])"),
    ("spread: from spread", "(Labelled [spread] (From (Name spread)) False)"),
    ("add axis skip", "(Merge (Name add) - [(Name axis) (Name skip)])"),
    ("add for a in b { } c{i}", "(Merge (Name add) - [(For [(Name a)] (Name b) (Body [])) (Path [[c (Name i)]])])"),
    ("repeat 2 { }", "(Repeat (Number 2) - (Body []))"),
    ("repeat(n) as j{ }", "(Repeat (Name* n) (Name j) (Body []))"),
    ("for i, n in enumerate(r) { }", "(For [(Name i) (Name n)] (Apply (Name enumerate) [(Name r)]) (Body []))"),
    (
        "if a { } else if b { }\nelse\nif c { } else{ }",
        "(If [[(Name a) (Body [])] [(Name b) (Body [])] [(Name c) (Body [])]] (Body []))",
    ),
    ("if(a) { }", "(If [[(Name* a) (Body [])]] -)"),
    ("let x = a", "(Let (Name x) (Name a))"),
    ("let x =\n a", "(Let (Name x) (Name a))"),
    ("default conv bias off", "(Default (Name conv) [(Name bias) (Switch False)])"),
    ("output y", "(Output (Port [y]) False -)"),
    ("output training training { }", "(Output (Port [training]) True (Body []))"),
    ("output y { }", "(Output (Port [y]) False (Body []))"),
    ("output y{i}_b training { }", "(Output (Port [y (Name i) '_b']) True (Body []))"),
    ("output y{i}", "(Output (Port [y (Name i)]) False -)"),
    ("input x{i+1}{j} 3x8", "(Input (Port [x (Binary (Name i) [['+' (Number 1)]]) (Name j)]) [(Dims [3 8])])"),
    ("expect 3x?", "(Expect shape (Dims [3 -]))"),
    ("expect params 61e6", "(Expect params (Number 61000000.0))"),
    ("expect macs", "(Expect shape (Name macs))"),
    ("freeze{ }", "(Freeze (Body []))"),
    (
        'about { year 2012; input "a" { x }\n top5 }',
        "(About [(Setting (Name year) [(Number 2012)] -) "
        "(Setting (Name input) [(Text a)] [(Setting (Name x) [] -)]) (Setting (Name top5) [] -)])",
    ),
    ("; relu;; ;bn ;\n;", "(Call (Name relu) [] []) (Call (Name bn) [] [])"),
]

ITEMS = [
    ('use "a.net"', "(Use - (Text 'a.net'))"),
    ('use a, b from "zoo/c.net"', "(Use [(Name a) (Name b)] (Text 'zoo/c.net'))"),
    ("net a{ }", "(Net (Name a) [] (Body []) '')"),
    (
        "net a(b, c in [1] = 1, d = e,)\n{ }",
        "(Net (Name a) [(Parameter (Name b) - -) (Parameter (Name c) "
        "(List [(Number 1)]) (Number 1)) (Parameter (Name d) - (Name e))] (Body []) '')",
    ),
    ("net a = b(c = 1, 2)", "(Alias (Name a) (Name b) [[(Name c) (Number 1)] [- (Number 2)]] '')"),
    ("block a { }", "(Block (Name a) [] False (Body []) '')"),
    ("block a() seq{ }", "(Block (Name a) [] True (Body []) '')"),
    ("fn a(x, y) = x", "(Function (Name a) [(Name x) (Name y)] (Name x) '')"),
    ("train a { lr 1 }", "(Train (Name a) [(Setting (Name lr) [(Number 1)] -)])"),
    ("default conv bias off", "(Default (Name conv) [(Name bias) (Switch False)])"),
    ("# one\n\n# two\n#three  \nfn a(x) = x # no", "(Function (Name a) [(Name x)] (Name x) 'two\\nthree')"),
    ("let a = 1 # no\nfn b() = 1", "(Let (Name a) (Number 1)) (Function (Name b) [] (Number 1) '')"),
]


@pytest.mark.parametrize(("text", "tree"), EXPRESSIONS)
def test_expressions(text: str, tree: str) -> None:
    assert expression(text) == tree


@pytest.mark.parametrize(("text", "tree"), ARGUMENTS)
def test_arguments_are_the_raw_sequence(text: str, tree: str) -> None:
    net = sound(f"net a {{ {text} }}").items[0]
    assert isinstance(net, ast.Net)
    (call,) = net.body.statements
    assert isinstance(call, ast.Call)
    assert " ".join(map(short, call.arguments)) == tree


@pytest.mark.parametrize(("text", "tree"), STATEMENTS)
def test_statements(text: str, tree: str) -> None:
    net = sound(f"net a {{ {text} }}").items[0]
    assert isinstance(net, ast.Net)
    assert " ".join(dump(statement) for statement in net.body.statements) == tree


@pytest.mark.parametrize(("text", "tree"), ITEMS)
def test_items(text: str, tree: str) -> None:
    assert " ".join(dump(item) for item in sound(text).items) == tree


@pytest.mark.parametrize("text", TEXTS, ids=[path.stem for path in EXAMPLES])
def test_examples_parse_and_their_spans_nest(text: str) -> None:
    file = sound(text)
    assert file.items
    for node, around in nodes(file.items):
        assert 0 <= node.span.start < node.span.end <= len(text)
        assert around is None or (around.start <= node.span.start and node.span.end <= around.end), node


def test_documentation_is_the_comment_above() -> None:
    net = sound(TEXTS[[path.stem for path in EXAMPLES].index("wavenet")]).items[-1]
    block = sound(TEXTS[[path.stem for path in EXAMPLES].index("wavenet")]).items[0]
    assert isinstance(net, ast.Net)
    assert isinstance(block, ast.Block)
    assert net.doc == ""
    assert block.doc.startswith("WaveNet (van den Oord et al., 2016), Figure 4")


@pytest.mark.parametrize("text", TEXTS, ids=[path.stem for path in EXAMPLES])
def test_line_ends_marks_and_tabs_change_nothing(text: str) -> None:
    expected = dump(sound(text).items)
    for variant in ("\ufeff" + text, text.replace("\n", "\r\n"), text.replace("\n", "\r"), text.replace("  ", "\t")):
        assert dump(sound(variant).items) == expected


@given(st.sampled_from(TEXTS), st.randoms(use_true_random=False))
def test_comments_and_blank_lines_change_nothing(text: str, random: object) -> None:
    lines = text.split("\n")
    padded = "\n".join(line + random.choice(["", ' # { ( " x', "\n", "\n  # }\n\n"]) for line in lines)  # type: ignore[attr-defined]

    def undocumented(file: ast.File) -> str:
        for item in file.items:
            if isinstance(item, ast.Net | ast.Alias | ast.Block | ast.Function):
                item.doc = ""
        return dump(file.items)

    assert undocumented(sound(padded)) == undocumented(sound(text))


def test_spans_are_what_was_written() -> None:
    text = "net a {\n  b{i}c: conv (3) f(x) (-y); skip { }\n}"
    file, _ = read(text)
    found = {type(node).__name__: node.span.text for node, _ in nodes(file.items)}
    assert found["Net"] == text
    assert found["Labelled"] == "b{i}c: conv (3) f(x) (-y)"
    assert found["Number"] == "(3)"
    assert found["Skip"] == "skip { }"
    assert found["Apply"] == "f(x)"
    labelled = next(node for node, _ in nodes(file.items) if isinstance(node, ast.Labelled))
    assert labelled.label_span.text == "b{i}c"


def test_long_texts_need_no_deep_stack() -> None:
    chain = sound("let x = " + "+".join(["1"] * 20_000)).items[0]
    assert isinstance(chain, ast.Let)
    assert isinstance(chain.value, ast.Binary)
    assert len(chain.value.steps) == 19_999
    net = sound("net a { if a { } " + "else if b { } " * 2_000 + "}").items[0]
    assert isinstance(net, ast.Net)
    (branch,) = net.body.statements
    assert isinstance(branch, ast.If)
    assert len(branch.arms) == 2_001
    assert len(sound("let a = 1\n" * 5_000).items) == 5_000
