"""The language server over stdio, as an editor speaks to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netdsl.desk.document import uri_of
from tests.cli.test_house import HEAVY, imported
from tests.support.cli_tools import Commands, environment, netdsl
from tests.support.lsp_client import TIMEOUT, Client, server
from tests.support.paths import ROOT

__all__ = ["netdsl"]

TEXT = "net n {\n  input x 3x8x8\n  conv 3x3 4 stride 2  # −𝒳\n  dense 10\n}\n"
WRONG = TEXT.replace("dense 10", "# 𝒳\n  desne 10")
ALL = {"start": {"line": 0, "character": 0}, "end": {"line": 1000, "character": 0}}


def place(uri: str, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def labels(client: Client, uri: str) -> list[str]:
    found = client.ask("textDocument/inlayHint", {"textDocument": {"uri": uri}, "range": ALL})
    return [hint["label"] for hint in found]


def test_a_session(tmp_path: Path) -> None:
    uri = uri_of(str(tmp_path / "n.net"))
    with server(uri_of(str(tmp_path))) as client:
        assert client.capabilities["positionEncoding"] == "utf-16"  # type: ignore[attr-defined]
        client.open(uri, TEXT)
        assert client.diagnostics(uri, 1) == []
        assert labels(client, uri) == ["→ 4x4x4", "→ 10"]
        client.change(uri, WRONG.replace("\n", "\r\n"), 2)
        (found,) = client.diagnostics(uri, 2)
        assert (found["code"], found["severity"], found["source"]) == ("E0202", 1, "netdsl")
        assert found["range"] == {"start": {"line": 4, "character": 2}, "end": {"line": 4, "character": 7}}
        assert labels(client, uri) == ["→ 4x4x4"]
        hover = client.ask("textDocument/hover", place(uri, 2, 3))
        assert "conv KERNEL" in hover["contents"]["value"]
        assert hover["range"]["end"] == {"line": 2, "character": 6}
        client.change(uri, TEXT.replace("stride 2", "stride 2; bn"), 3)
        assert client.diagnostics(uri, 3) == []
        (warning,) = client.diagnostics(uri, 3)  # when idle
        assert (warning["code"], warning["severity"]) == ("W0302", 2)
        client.notify("textDocument/didClose", {"textDocument": {"uri": uri}})
        client.take(lambda message: message.get("method") == "textDocument/publishDiagnostics")
        assert client.ask("textDocument/hover", place(uri, 2, 3)) is None


def test_edits_in_a_burst_are_analyzed_once_and_answers_are_of_the_newest(tmp_path: Path) -> None:
    uri = uri_of(str(tmp_path / "n.net"))
    with server(options={"level": "shapes"}) as client:
        client.open(uri, TEXT)
        for version in range(2, 60):
            client.change(uri, TEXT.replace("10", str(version)), version)
        assert labels(client, uri)[-1] == "→ 59"
        client.diagnostics(uri, 59)
        versions = [each["params"]["version"] for each in client.notifications]
        assert versions == sorted(set(versions))


def test_without_pygls_the_command_says_what_to_install(netdsl: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netdsl.cli.lsp.find_spec", lambda _: None)
    ran = netdsl("lsp")
    assert ran.code == 2
    assert "pip install 'netdsl[lsp]'" in ran.err


def test_a_port_in_use_is_an_error(netdsl: Commands) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = netdsl("lsp", "--tcp", taken.getsockname()[1])
    assert ran.code == 2
    assert "E0914" in ran.err


def test_one_editor_can_connect_to_a_port() -> None:
    import socket
    import subprocess
    import sys
    import time

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "netdsl", "lsp", "--tcp", str(port)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE) as process:
        try:
            for _ in range(300):
                try:
                    connection = socket.create_connection(("127.0.0.1", port))
                    break
                except OSError:
                    time.sleep(0.1)
            with connection, connection.makefile("rwb") as stream:
                for number, method in enumerate(("initialize", "shutdown", "exit")):
                    params = {"capabilities": {}, "processId": None} if method == "initialize" else None
                    message = {"jsonrpc": "2.0", "method": method, "params": params}
                    data = json.dumps(message | ({"id": number} if method != "exit" else {})).encode()
                    stream.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
                    stream.flush()
                    if method == "initialize":
                        assert stream.readline().startswith(b"Content-")
                        with pytest.raises(OSError, match="refused"):  # a second editor
                            socket.create_connection(("127.0.0.1", port))
            assert process.wait(TIMEOUT) == 0
            assert process.stderr is not None
            assert process.stderr.read().decode().count("\n") == 1  # no traceback
        finally:
            process.kill()


def test_an_editor_that_does_not_say_goodbye_makes_the_exit_code_1() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "netdsl", "lsp"]
    assert (
        subprocess.run(command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, timeout=TIMEOUT).returncode == 1
    )


def test_wrong_messages_and_odd_addresses_are_answered() -> None:
    uri = "file:///nets/n.net"
    with server() as client:
        client.open(uri, TEXT)
        for number, params in enumerate(({"a": 1}, [1], place(uri, -1, 0), place(uri, 0, None))):  # type: ignore[arg-type]
            client.send(id=f"wrong {number}", method="textDocument/hover", params=params)
            answer = client.take(lambda message: str(message.get("id", "")).startswith("wrong"))
            assert answer["error"]["code"] == -32602
        for odd in ("untitled:Untitled-1", "file:///a%00b.net", "file:///%ff.net", "file://", "file:///" + "x" * 5000):
            client.open(odd, TEXT)
            assert "conv KERNEL" in client.ask("textDocument/hover", place(odd, 2, 3))["contents"]["value"]
        changes = [
            {
                "range": {"start": {"line": 2, "character": 29}, "end": {"line": 3, "character": 2}},
                "text": "𝒳\n  flatten\n  ",
            },
            {"range": {"start": {"line": 4, "character": 8}, "end": {"line": 4, "character": 10}}, "text": "12"},
        ]
        changed = {"textDocument": {"uri": uri, "version": 2}, "contentChanges": changes}
        client.notify("textDocument/didChange", changed)
        assert labels(client, uri) == ["→ 4x4x4", "→ 64", "→ 12"]


def test_the_desk_is_light() -> None:
    code = "from netdsl.desk.session import Session; s = Session(); s.open('file:///n.net', 'net n { input x 4 }', 1)"
    assert imported(f"{code}; s.complete('file:///n.net')") & (HEAVY | {"pygls", "lsprotocol"}) == set()


def test_each_request_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "n.net"
    uri = uri_of(str(path))
    text = 'use "b.net"\nnet n(depth in [1, 2] = 2) {\n  input 𝒳 3x8x8  # −\n'.replace("𝒳", "x")
    text += "  a: conv 3x3 4 strid 2  # 𝒳\n  repeat depth { unit }\n  from a\n}\n"
    text = text.replace("\n", "\r\n")
    (tmp_path / "b.net").write_text("block unit { relu }\n")
    document = {"textDocument": {"uri": uri}}
    with server(uri_of(str(tmp_path))) as client:
        client.open(uri, text)
        client.diagnostics(uri, 1)
        (found,) = client.diagnostics(uri, 1)  # complete
        span = found["range"]
        context = {"diagnostics": [found], "only": ["quickfix"]}
        (action, *_) = client.ask("textDocument/codeAction", {**document, "range": span, "context": context})
        assert action["isPreferred"]
        assert action["edit"]["changes"][uri] == [{"range": span, "newText": "stride"}]
        context = {"diagnostics": [], "only": ["source.fixAll"]}
        (action,) = client.ask("textDocument/codeAction", {**document, "range": span, "context": context})
        assert (action["kind"], action["edit"]["changes"][uri][0]["newText"]) == ("source.fixAll.netdsl", "stride")
        text = text.replace("strid ", "stride ")
        client.change(uri, text, 2)
        listed = client.ask("textDocument/completion", place(uri, 3, 8))
        assert {"conv", "concat"} <= {item["label"] for item in listed["items"]}
        assert listed["items"][0]["textEdit"]["range"]["start"] == {"line": 3, "character": 5}
        assert client.ask("textDocument/signatureHelp", place(uri, 3, 10))["signatures"][0]["activeParameter"] == 0
        (definition,) = client.ask("textDocument/definition", place(uri, 4, 18))
        assert definition["uri"] == uri_of(str(tmp_path / "b.net"))
        assert (
            len(client.ask("textDocument/references", {**place(uri, 4, 18), "context": {"includeDeclaration": True}}))
            == 2
        )
        assert len(client.ask("textDocument/documentHighlight", place(uri, 5, 7))) == 2
        assert client.ask("textDocument/prepareRename", place(uri, 5, 7))["start"] == {"line": 5, "character": 7}
        renamed = client.ask("textDocument/rename", {**place(uri, 4, 18), "newName": "block1"})["changes"]
        assert {Path(name).name: len(edits) for name, edits in renamed.items()} == {"n.net": 1, "b.net": 1}
        (symbol,) = client.ask("textDocument/documentSymbol", document)
        assert [child["name"] for child in symbol["children"]] == ["x", "a"]
        assert client.ask("textDocument/foldingRange", document)[0]["startLine"] == 1
        assert len(client.ask("textDocument/semanticTokens/full", document)["data"]) % 5 == 0
        (edit, *_) = client.ask(
            "textDocument/formatting", {**document, "options": {"tabSize": 2, "insertSpaces": True}}
        )
        assert edit["newText"].endswith("\r\n")
        edits = client.ask(
            "textDocument/rangeFormatting", {**document, "range": ALL, "options": {"tabSize": 2, "insertSpaces": True}}
        )
        assert edits[0] == edit
        lenses = client.ask("textDocument/codeLens", document)
        shown = next(lens["command"] for lens in lenses if lens["command"]["title"] == "depth = 1")
        client.ask("workspace/executeCommand", {"command": shown["command"], "arguments": shown["arguments"]})
        assert "→ 4x4x4" in labels(client, uri)
        client.number += 1
        client.send(id=client.number, method="textDocument/prepareRename", params=place(uri, 3, 6))
        answer = client.take(lambda message: message.get("id") == client.number)
        assert answer["error"]["code"] == -32803


def test_the_editor_tells_of_settings_and_of_files_that_change(tmp_path: Path) -> None:
    used, uri = tmp_path / "b.net", uri_of(str(tmp_path / "a.net"))
    used.write_text("block b { dense 3 }")
    able = {"configuration": True, "didChangeWatchedFiles": {"dynamicRegistration": True}}
    with server(uri_of(str(tmp_path)), {"workspace": able}, {"hints": False}) as client:
        client.settings = {"level": "shapes", "hints": True}
        client.take(lambda message: message.get("method") == "client/registerCapability")
        client.take(lambda message: message.get("method") == "workspace/configuration")
        client.open(uri, 'use "b.net"\nnet a { input x 4; b }\n')
        assert labels(client, uri) == ["→ 3"]
        used.write_text("block b { dense 5 }")
        changes = [{"uri": uri_of(str(used)), "type": 2}]
        client.notify("workspace/didChangeWatchedFiles", {"changes": changes})
        assert labels(client, uri) == ["→ 5"]
        client.notify("workspace/didChangeConfiguration", {"settings": {"netdsl": {"hints": False}}})
        assert labels(client, uri) == []
