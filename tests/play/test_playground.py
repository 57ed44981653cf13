"""The playground: what its server refuses, what the page is answered, and what is saved."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import onnx
import pytest

import netdsl as api
from netdsl.app.given_weights import WeightSource
from netdsl.play.opened import MAX_TEXT, open_text
from netdsl.play.playground import Malformed, Playground, Stale
from netdsl.play.server import MAX_BODY, PAGE, PlayServer
from tests.support.cli_tools import MNIST, Commands, environment, netdsl

__all__ = ["netdsl"]

TEXT = """net small(width in [4, 8] = 4) {
  input image 1x28x28
  conv 3x3 width pad 1; relu  # 𝒳
  flatten; linear 10
}
net wide = small(width = 8)
"""


class Page:
    """What a page does: it asks with the key, or with other headers."""

    def __init__(self, server: PlayServer) -> None:
        self.server = server
        self.host = f"127.0.0.1:{server.server_port}"

    def headers(self) -> dict[str, str]:
        return {
            "Host": self.host,
            "Origin": f"http://{self.host}",
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json",
            "X-Netdsl": self.server.token,
        }

    def send(
        self, path: str, body: bytes = b"{}", method: str = "POST", **changed: str | None
    ) -> http.client.HTTPResponse:
        headers = {**self.headers(), "Content-Length": str(len(body))}
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}  # type: ignore[misc]
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=20)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        with suppress(OSError):  # refused before it was read
            connection.send(body)
        found = connection.getresponse()
        self.read = found.read()
        connection.close()
        return found

    def ask(self, question: str, **body: Any) -> Any:
        found = self.send(f"/api/{question}", json.dumps(body).encode())
        assert found.status == 200
        return json.loads(self.read)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "small.net").write_text(TEXT, "utf-8")
    (folder / "beside.net").write_text("block unit(n) { conv 3x3 n pad 1; relu }\n")
    (tmp_path / "outside.net").write_text("block unit(n) { conv 3x3 n pad 1; relu }\n")
    return folder / "small.net"


@pytest.fixture
def page(file: Path) -> Iterator[Page]:
    playground = Playground(open_text(str(file)))
    with PlayServer(playground) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Page(server)
        server.shutdown()
        thread.join()


REFUSED: dict[str, tuple[int, dict[str, Any]]] = {
    "no token": (403, {"X_Netdsl": None}),
    "another token": (403, {"X_Netdsl": "x" * 32}),
    "a token with other letters": (403, {"X_Netdsl": "é" * 32}),
    "a foreign host": (403, {"Host": "evil.example"}),
    "a foreign host at this port": (403, {"Host": "evil.example:{port}"}),
    "no host": (403, {"Host": None}),
    "a foreign origin": (403, {"Origin": "https://evil.example"}),
    "no origin at all": (403, {"Origin": "null"}),
    "another port's origin": (403, {"Origin": "http://127.0.0.1:1"}),
    "a page of another site": (403, {"Sec_Fetch_Site": "cross-site"}),
    "a page of another port": (403, {"Sec_Fetch_Site": "same-site"}),
    "a form": (415, {"Content_Type": "application/x-www-form-urlencoded"}),
    "a text": (415, {"Content_Type": "text/plain"}),
    "no length": (411, {"Content_Length": None}),
    "a length that is none": (411, {"Content_Length": "+2"}),
    "pieces": (411, {"Transfer_Encoding": "chunked"}),
    "a body that is too large": (413, {"Content_Length": str(MAX_BODY + 1)}),
    "a body without end": (413, {"Content_Length": "0" * 30 + "9" * 30}),
    "no JSON": (400, {"body": b"{"}),
    "deep JSON": (400, {"body": b"[" * 100_000}),
    "no object": (400, {"body": b"[]"}),
    "no text": (400, {"body": b'{"text": 3}'}),
    "half a character": (400, {"body": b'{"text": "\\ud800"}'}),
    "variants that are none": (400, {"body": b'{"text": "", "shown": {"a": "b"}}'}),
    "an unknown question": (404, {"path": "/api/close"}),
    "an attribute": (404, {"path": "/api/__class__"}),
    "another path": (404, {"path": "/etc/passwd"}),
    "a question by GET": (405, {"method": "GET"}),
    "another method": (405, {"method": "PUT"}),
    "the method before a request of another site": (405, {"method": "OPTIONS"}),
    "a file above the page": (404, {"method": "GET", "path": "/../server.py"}),
    "an asset by a foreign name": (403, {"method": "GET", "path": "/play.js", "Host": "evil.example"}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_are_not_from_the_page_are_refused(page: Page, case: str) -> None:
    status, changed = REFUSED[case]
    port = str(page.server.server_port)
    words = {
        name: value.replace("{port}", port) if isinstance(value, str) else value for name, value in changed.items()
    }
    path, body, method = (words.pop(name, usual) for name, usual in PARTS.items())
    found = page.send(path, body, method, **words)
    assert (found.status, page.read) == (status, b"")
    assert found.getheader("Access-Control-Allow-Origin") is None


PARTS: dict[str, Any] = {"path": "/api/analyse", "body": b'{"text": ""}', "method": "POST"}


def test_the_page_runs_only_its_own_script_and_does_not_hold_the_key(page: Page) -> None:
    nonces = set()
    for _ in range(2):
        found = page.send("/", b"", "GET", X_Netdsl=None, Origin=None, Sec_Fetch_Site="none")
        text = page.read.decode()
        policy = found.getheader("Content-Security-Policy") or ""
        (nonce,) = set(re.findall(r"'nonce-([\w-]{20,})'", policy))
        nonces.add(nonce)
        assert policy.startswith("default-src 'none'; ")
        assert "unsafe" not in policy
        assert re.findall(r'<script nonce="([\w-]+)" src="/play.js"', text) == [nonce]
        assert text.count("<script") == 1
        assert page.server.token not in text
    assert len(nonces) == 2
    assert len(base64.urlsafe_b64decode(page.server.token)) == 24
    for name in ("play.js", "play.css"):
        assert page.send(f"/{name}", b"", "GET").status == 200
        assert page.read == (Path(PAGE) / name).read_bytes()


def test_the_page_weighs_less_than_450_kb() -> None:
    names = ("index.html", "play.css", "play.js")
    assert sum(os.path.getsize(os.path.join(PAGE, name)) for name in names) < 450_000


def place(text: str, position: list[int]) -> int:
    """The offset of a position, in UTF-16 units as in browsers."""
    lines = text.split("\n")
    before = "".join(line + "\n" for line in lines[: position[0]])
    return len(before) + len(lines[position[0]].encode("utf-16-le")[: 2 * position[1]].decode("utf-16-le"))


def edited(text: str, edits: list[Any]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[: place(text, start)] + new + text[place(text, end) :]
    return text


def test_a_text_is_answered_with_shapes_variants_and_views(page: Page) -> None:
    found = page.ask("analyse", text=TEXT, file=True)
    assert found["diagnostics"] == []
    line = TEXT.split("\n")[2]
    shape, tooltip = "→ 4x28x28", "relu1: 4x28x28"
    assert found["hints"][0] == [[2, line.index("  #")], shape, tooltip]
    assert [hint[1] for hint in found["hints"]] == [shape, "→ 10"]
    variants = [["defaults", "", ""], ["wide", "wide", ""], ["width = 4", "width", "4"], ["width = 8", "width", "8"]]
    assert found["nets"] == [{"name": "small", "shown": 0, "variants": variants}]
    title = ElementTree.fromstring(found["svg"]).findtext("{http://www.w3.org/2000/svg}title")
    assert title == "small(width = 4)"
    summary = page.ask("analyse", text=TEXT, file=True, view="summary")["summary"]
    assert re.search(rf"weights +{1 * 9 * 4 + 4 + 4 * 28 * 28 * 10 + 10:,}\b", summary)
    for number in (1, 3):
        wide = page.ask("analyse", text=TEXT, file=True, shown={"small": variants[number][1:]})
        assert wide["hints"][0][1] == "→ 8x28x28"
        assert wide["nets"][0]["shown"] == number
    assert page.ask("analyse", text="", file=True)["nets"] == []


def test_a_broken_net_is_drawn_up_to_its_first_error(page: Page) -> None:
    found = page.ask("analyse", text=TEXT.replace("flatten", "flaten"), file=True)
    assert [each["code"] for each in found["diagnostics"]] == ["E0202"]
    assert found["incomplete"]
    assert "incomplete" in (ElementTree.fromstring(found["svg"])[0].text or "")


def test_a_fix_of_the_complete_analysis_removes_its_problem(page: Page) -> None:
    text = TEXT.replace("flatten;", 'about { authors "𝒳" }; flaten;')
    quick = page.ask("analyse", text=text, file=True)
    assert not quick["complete"]
    (problem,) = quick["diagnostics"]
    assert problem["actions"] == []
    start, end = problem["range"]
    assert text[place(text, start) : place(text, end)] == "flaten"
    full = page.ask("advise", text=text, file=True)
    assert full["complete"]
    (fix,) = full["diagnostics"][0]["actions"]
    fixed = edited(text, fix["edits"])
    assert fixed == text.replace("flaten", "flatten")
    assert page.ask("advise", text=fixed, file=True)["diagnostics"] == []
    assert page.ask("analyse", text=fixed, file=True)["complete"]


def test_words_descriptions_and_the_style_are_answered(page: Page) -> None:
    text = TEXT.replace("pad 1", "stri")
    line = text.split("\n")[2]
    found = page.ask("complete", text=text, file=True, at=[2, line.index("stri") + 4])
    assert found["from"] == [2, line.index("stri")]
    assert "stride" in [each["word"] for each in found["items"]]
    assert found["call"]["usage"].startswith("conv KERNEL")
    hover = page.ask("hover", text=TEXT, file=True, at=[2, 3])
    assert hover["range"] == [[2, 2], [2, 6]]
    assert "conv" in hover["text"]
    assert page.ask("hover", text=TEXT, file=True, at=[0, 400]) == {}
    assert page.send("/api/hover", b'{"text": "", "at": [0, -1]}').status == 400
    untidy = TEXT.replace("  flatten; ", " flatten;")
    assert edited(untidy, page.ask("format", text=untidy, file=True)["edits"]) == TEXT


OTHER_FILES = {
    "beside": ('use "beside.net"', True, True),
    "the zoo": ('use "zoo/resnet.net"', True, False),
    "above": ('use "../outside.net"', False, False),
    "by its path": ('use "{folder}/beside.net"', False, False),
    "by a link": ('use "link.net"', False, False),
    "by a link to a folder": ('use "up/outside.net"', False, False),
}


@pytest.mark.parametrize("case", OTHER_FILES)
def test_only_the_zoo_and_the_folder_of_file_are_read(page: Page, file: Path, case: str) -> None:
    (file.parent / "link.net").symlink_to("../outside.net")
    (file.parent / "up").symlink_to("..")
    text, is_allowed, needs_file = OTHER_FILES[case]
    text = text.format(folder=file.parent) + "\n"
    in_file = page.ask("analyse", text=text, file=True)["diagnostics"]
    assert [each["code"] for each in in_file] == ([] if is_allowed else ["E0502"])
    scratch = page.ask("analyse", text=text)["diagnostics"]
    assert (scratch == []) is (is_allowed and not needs_file)
    assert not any("block unit" in json.dumps(each) for each in [*in_file, *scratch])


def test_file_is_written_only_with_a_change_and_only_if_no_one_else_has(page: Page, file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    file.chmod(0o640)
    start = page.ask("open")
    assert (start["text"], start["name"], start["file"]) == (TEXT, "small.net", True)
    before = file.stat()
    same = page.ask("save", text=TEXT, revision=start["revision"])
    assert same == {"saved": False, "revision": start["revision"]}
    assert file.stat() == before
    new = TEXT.replace("28x28", "32x32")
    saved = page.ask("save", text=new, revision=start["revision"])
    assert saved["saved"]
    assert file.read_bytes() == b"\xef\xbb\xbf" + new.replace("\n", "\r\n").encode()
    assert file.stat().st_mode == before.st_mode
    late = page.ask("save", text=TEXT, revision=start["revision"])
    assert late["error"]["code"] == "E0917"
    assert page.ask("save", text=TEXT, revision=saved["revision"])["saved"]
    file.unlink()
    assert page.ask("save", text=new, revision=saved["revision"])["error"]["code"] == "E0601"
    assert [path.name for path in file.parent.iterdir()] == ["beside.net"]


def test_without_file_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    playground = Playground(open_text("resnet34"))
    start = playground.open({})
    assert (start["name"], start["file"]) == ("zoo/resnet.net", False)
    shown = playground.analyse({"text": start["text"], "net": start["net"], "shown": start["shown"], "file": True})
    assert "depth = 34" in (ElementTree.fromstring(shown["svg"])[0].text or "")
    with pytest.raises(api.UserError):
        playground.save({"text": "", "revision": start["revision"]})
    assert not os.path.exists(playground.scratch)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_text_wins(file: Path) -> None:
    playground = Playground(open_text(str(file)))
    ended: list[str] = []

    def analyse(text: str) -> None:
        try:
            playground.analyse({"text": text})
            ended.append(text)
        except Stale:
            ended.append("stale")

    with playground._lock:
        threads = []
        for number, text in enumerate(("net a { input x 1 }\n", "net b { input x 1 }\n"), 1):
            threads.append(threading.Thread(target=analyse, args=(text,)))
            threads[-1].start()
            while playground._newest < number:
                threads[-1].join(0.001)
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["net b { input x 1 }\n", "stale"]


def link(text: str) -> str:
    packer = zlib.compressobj(wbits=-15)
    data = packer.compress(text.encode()) + packer.flush()
    return "http://127.0.0.1:1/#net=" + base64.urlsafe_b64encode(data).decode().rstrip("=")


def test_links_hold_a_text() -> None:
    text = TEXT * 20
    assert open_text(link(text)).text == text
    whole = link(text)
    bad = {
        "cut": whole[:-9],
        "empty": whole.partition("=")[0] + "=",
        "no link": "http://127.0.0.1/",
        "bytes": link(TEXT) + "é",
    }
    bad["bomb"] = link("x" * (4 * MAX_TEXT + 1))
    for name, each in bad.items():
        with pytest.raises(api.UserError) as caught:
            open_text(each)
        assert caught.value.code == "E0918", name
    with pytest.raises(api.UserError, match="characters"):
        open_text(link("x" * (MAX_TEXT + 1)))


def test_every_net_of_the_zoo_opens_with_the_net_of_its_name(page: Page) -> None:
    start = page.ask("open")
    assert len(start["zoo"]) > 50
    for name, _ in start["zoo"][::16]:
        opened = page.ask("zoo", name=name)
        found = page.ask("analyse", text=opened["text"], net=opened["net"], shown=opened["shown"], view="none")
        assert found["net"] == opened["net"], name
        assert not [each for each in found["diagnostics"] if each["severity"] == "error"], name
    assert page.ask("zoo", name="resnet5")["error"]["code"] == "E0631"


def test_the_command_serves_until_it_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "small.net").write_text(TEXT, "utf-8")
    process = subprocess.Popen(
        [sys.executable, "-m", "netdsl", "play", "small.net:wide", "--no-browser", "--json"],
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    address = urlsplit(json.loads(process.stdout.readline())["address"])
    connection = http.client.HTTPConnection("127.0.0.1", address.port or 0)
    headers = {"Content-Type": "application/json", "X-Netdsl": address.fragment.removeprefix("token=")}
    connection.request("POST", "/api/open", "{}", headers)
    found = json.loads(connection.getresponse().read())
    connection.close()
    assert (found["net"], found["shown"]) == ("small", {"small": ["wide", ""]})
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()
    assert [path.name for path in tmp_path.iterdir()] == ["small.net"]


def exported(page: Page, **body: Any) -> bytes:
    found = page.send("/api/export", json.dumps({"text": TEXT, "net": "small", **body}).encode())
    assert (found.status, found.getheader("Content-Type")) == (200, "application/octet-stream")
    return page.read


def test_the_shown_variant_is_exported(page: Page) -> None:
    shown = {"small": ["width", "8"]}
    model = onnx.load_from_string(exported(page, form="onnx", shown=shown))
    onnx.checker.check_model(model, full_check=True)
    weights = {each.name: tuple(each.dims) for each in model.graph.initializer}
    assert weights["conv1.weight"] == (8, 1, 3, 3)
    assert b"<title>small(width = 8)</title>" in exported(page, form="svg", shown=shown)
    for question in ("export", "run"):
        found = page.ask(question, text=TEXT.replace("flatten", "flaten"), net="small", form="svg")
        assert found["error"]["code"] == "E0919"
        assert page.ask(question, text=TEXT, net="large")["error"]["code"] == "E0919"


DIGITS = sorted((MNIST / "digits").glob("*.png"))


def test_a_net_with_weights_reads_digits_and_without_them_says_so() -> None:
    weights = WeightSource(str(MNIST / "lenet5.safetensors"))
    playground = Playground(open_text("lenet5"), weights)
    text = playground.opened.text
    for path in DIGITS:
        image = base64.b64encode(path.read_bytes()).decode()
        found = playground.run({"text": text, "net": "lenet5", "image": image})
        assert found["outputs"][0]["classes"][0][0] == path.name[0]
    assert found["notes"] == []
    for image in ("", "no base64!", base64.b64encode(b"\x89PNG").decode()):
        with pytest.raises((Malformed, api.UserError)) as caught:
            playground.run({"text": text, "net": "lenet5", "image": image})
        assert "netdsl-" not in str(caught.value)
    drawn = Playground(open_text("lenet5"))
    found = drawn.run({"text": text, "net": "lenet5"})
    assert "random weights (seed 0)" in found["notes"][0]
    assert len(found["outputs"][0]["classes"]) == 5
    upsampled = "net a { input x 1x4x4; conv 3x3 2 pad 1 }\n"
    (output,) = drawn.run({"text": upsampled, "net": "a"})["outputs"]
    assert output["shape"] == [2, 4, 4]
    assert output["numbers"] == sorted(output["numbers"])
    with pytest.raises(api.UserError, match="random numbers"):
        drawn.run({"text": "net a { input x [5] dtype i64; embedding 10 4 }\n", "net": "a"})


def test_what_cannot_be_played_is_an_error(netdsl: Commands) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = netdsl("play", "--port", taken.getsockname()[1], "--no-browser")
    assert (ran.code, ran.out) == (2, "")
    assert "error[E0916]: cannot serve on port" in ran.err
    assert "E0601" in netdsl("play", "missing.net").err
    assert "E0601" in netdsl("play", "--weights", "missing.npz", "--no-browser").err
    assert "E0646" in netdsl("play", "--partial", "--no-browser").err
    assert "E0631" in netdsl("play", "resnet5").err
    assert "E0918" in netdsl("play", "http://127.0.0.1/#net=x").err
