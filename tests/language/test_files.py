"""Reading sources and writing outputs, on real devices and with real signals."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netdsl.base.files import (
    CannotWrite,
    FileProblem,
    MissingFile,
    NotAFile,
    NotText,
    TooLarge,
    Unreadable,
    mistaken,
    open_file,
    read_source,
    write_all,
    write_atomically,
)
from netdsl.base.limits import SOURCE_BYTES
from netdsl.base.user_error import USER_ERRORS, UserError, escape

posix = pytest.mark.skipif(os.name != "posix", reason="devices and pipes")
as_user = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")


def test_an_error_prints_its_code_message_and_helps() -> None:
    assert str(NotText("x.net is UTF-16 text", "save it as UTF-8")) == (
        "error[E0605]: x.net is UTF-16 text\n  = help: save it as UTF-8"
    )


def test_codes_have_their_form_and_one_owner() -> None:
    assert all(code[0] == "E" and code[1:].isdigit() and len(code) == 5 for code in USER_ERRORS)
    assert len(set(USER_ERRORS.values())) == len(USER_ERRORS)
    with pytest.raises(AssertionError, match="taken by NotText"):
        type("Another", (UserError,), {}, code="E0605")


def test_every_kind_is_explained() -> None:
    assert all(kind.__doc__ and kind.exit_code in (1, 2) for kind in USER_ERRORS.values())


def test_names_cannot_steer_the_terminal() -> None:
    assert escape("a\x1b]0;b\u202ec") == "a\\x1b]0;b\\u202ec"
    with pytest.raises(MissingFile) as caught:
        read_source("no\nsuch\x1b[31m.net")
    assert caught.value.message == "there is no file no\\nsuch\\x1b[31m.net"
    error = MissingFile("a\nb\x1b", "c\nd", details=["  e\nf"])
    assert str(error) == "error[E0601]: a\\nb\\x1b\n  e\\nf\n  = help: c\\nd"


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"net a {}\n", "net a {}\n"),
        (b"\xef\xbb\xbfnet\r\na\rb", "net\na\nb"),
        ("# Größe ×".encode(), "# Größe ×"),
        (b"x" * SOURCE_BYTES, "x" * SOURCE_BYTES),
    ],
)
def test_a_source_is_read(tmp_path: Path, data: bytes, text: str) -> None:
    path = tmp_path / "a b é.net"
    path.write_bytes(data)
    source = read_source(str(path))
    assert source.text == text
    assert source.name == str(path)
    assert read_source(str(path), "zoo/a.net").name == "zoo/a.net"


@pytest.mark.parametrize(
    ("data", "kind", "message"),
    [
        (b"net a {\n  conv \xff", NotText, "bad.net is not valid UTF-8 at byte 15 (line 2): 0xff"),
        (b"a\r\nb\rc\xe9d", NotText, "bad.net is not valid UTF-8 at byte 6 (line 3): 0xe9"),
        (b"\xed\xa0\x80", NotText, "bad.net is not valid UTF-8 at byte 0 (line 1): 0xed"),
        (b"net\n\0", NotText, "bad.net is not text: NUL character at byte 4 (line 2)"),
        ("net".encode("utf-16"), NotText, "bad.net is UTF-16 text"),
        ("net".encode("utf-16-be"), NotText, "bad.net is not text: NUL character at byte 0 (line 1)"),
        (b"\xfe\xff" + "net".encode("utf-16-be"), NotText, "bad.net is UTF-16 text"),
        (b"x" * (SOURCE_BYTES + 1), TooLarge, "bad.net is larger than 2,000,000 bytes, the limit of a source"),
    ],
)
def test_a_bad_source_is_named_with_its_place(tmp_path: Path, data: bytes, kind: type[UserError], message: str) -> None:
    path = tmp_path / "bad.net"
    path.write_bytes(data)
    with pytest.raises(kind) as caught:
        read_source(str(path), "bad.net")
    assert caught.value.message == message
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(
    ("name", "said"), [("m.onnx", "`run`, `eval`"), ("w.safetensors", "`--weights`"), ("w.pth", "`--w")]
)
def test_a_model_or_weights_in_place_of_a_source(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"\x08\0\x01")
    with pytest.raises(NotText) as caught:
        read_source(str(tmp_path / name))
    assert said in caught.value.helps[0]


@pytest.mark.parametrize("path", ["missing.net", "", "a.net/b.net", "nul\0.net"])
def test_a_missing_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.net").touch()
    for read in (read_source, open_file):
        with pytest.raises(MissingFile, match="there is no file") as caught:
            read(path)
        assert caught.value.exit_code == 2


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    for read in (read_source, open_file):
        with pytest.raises(NotAFile, match="is a folder"):
            read(str(tmp_path))


@as_user
def test_a_locked_file(tmp_path: Path) -> None:
    path = tmp_path / "locked.net"
    path.touch(mode=0)
    for read in (read_source, open_file):
        with pytest.raises(Unreadable, match="permission denied"):
            read(str(path))


@posix
def test_an_endless_device_ends_at_the_limit() -> None:
    with pytest.raises(TooLarge):
        read_source("/dev/zero")
    with pytest.raises(NotAFile):
        open_file("/dev/zero")
    assert read_source("/dev/null").text == ""


@posix
def test_a_pipe_is_read_and_one_without_a_writer_does_not_hang(tmp_path: Path) -> None:
    path = tmp_path / "pipe.net"
    os.mkfifo(path)
    with pytest.raises(Unreadable, match="nobody writes into this pipe"):
        read_source(str(path))
    with pytest.raises(NotAFile, match="pipe"):
        open_file(str(path))
    writer = threading.Thread(target=path.write_bytes, args=(b"net a {}\n" * 20_000,))
    writer.start()
    assert read_source(str(path)).text == "net a {}\n" * 20_000
    writer.join()


@posix
def test_process_substitution_and_stdin() -> None:
    code = (
        "import sys; from netdsl.base.files import read_source as r; s = r(sys.argv[1]); print(s.name[:9], len(s.text))"
    )
    slow = f"{sys.executable} -c '{code}' <(sleep 0.2; echo one; sleep 1.2; echo two)"
    done = subprocess.run(["bash", "-c", slow], capture_output=True, text=True)
    assert done.stdout == "/dev/fd/6 8\n", done.stderr
    for stdin, out in ((b"net", "<stdin> 3\n"), (b"", "<stdin> 0\n")):
        done = subprocess.run([sys.executable, "-c", code, "-"], input=stdin, capture_output=True)
        assert done.stdout.decode() == out, done.stderr
    done = subprocess.run(["bash", "-c", f"{sys.executable} -c '{code}' - <&-"], capture_output=True, text=True)
    assert "the standard input is closed" in done.stderr


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "git-LFS pointer"),
        (b"\n <!DOCTYPE html>", "web page"),
        (b"<HTML>", "web page"),
        (b"\x93NUMPY", None),
    ],
)
def test_a_file_that_is_something_else(head: bytes, what: str | None) -> None:
    said = mistaken(head)
    assert said is None if what is None else what in (said or "")


# --- writing -------------------------------------------------------------------------------------------------------


def write(path: object, data: bytes = b"new") -> None:
    with write_atomically(str(path)) as file:
        file.write(data)


def test_a_write_creates_and_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("m.onnx", "a b\né.onnx", "x" * 255):
        for data in (b"first", b"2nd"):
            write(name, data)
            assert Path(name).read_bytes() == data
    assert len(list(tmp_path.iterdir())) == 3


@posix
def test_modes_follow_the_umask_and_then_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    before = os.umask(0o027)
    try:
        write(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o604)
        write(path, b"again")
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
    finally:
        os.umask(before)


@posix
def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.onnx"
    link.symlink_to("real/m.onnx")
    for data in (b"through a dangling link", b"through a link"):
        write(link, data)
        assert link.is_symlink()
        assert (tmp_path / "real" / "m.onnx").read_bytes() == data
    assert [p.name for p in (tmp_path / "real").iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError, MemoryError, NotText, ZeroDivisionError])
def test_an_exception_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    path = tmp_path / "m.onnx"
    for old in (None, b"old"):
        if old:
            path.write_bytes(old)
        with pytest.raises(kind), write_atomically(str(path)) as file:
            file.write(b"half" * 100_000)
            raise kind("stop")
        assert [p.read_bytes() for p in tmp_path.iterdir()] == ([old] if old else [])


def test_nothing_is_seen_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with write_atomically(str(path)) as file:
        file.write(b"n" * 1_000_000)
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.stat().st_size == 1_000_000


def test_an_error_of_another_file_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(str(tmp_path / "m.onnx")):
        open(tmp_path / "weights.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/such/m.onnx", "cannot write no/such/m.onnx: its folder does not exist"),
        ("file/m.onnx", "cannot write file/m.onnx: "),
        ("folder", "cannot write folder: it is a folder"),
        ("nul\0", "cannot write nul\\x00: no file can have this name"),
        ("y" * 300, f"cannot write {'y' * 300}: file name too long"),
    ],
)
def test_a_bad_target_fails_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    worked = False
    with pytest.raises(CannotWrite) as caught, write_atomically(path):
        worked = True
    assert not worked
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == 2
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["file", "folder"]


@as_user
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(CannotWrite, match="read-only"):
        write(path)
    path.chmod(0o644)
    tmp_path.chmod(0o555)
    with pytest.raises(CannotWrite, match="permission denied"):
        write(path)
    tmp_path.chmod(0o755)
    assert path.read_bytes() == b"old"


@posix
def test_devices_are_written_directly() -> None:
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if os.path.exists("/dev/full"):
        for size in (3, 1_000_000):
            with pytest.raises(CannotWrite, match="cannot write /dev/full: no space left on device"):
                write("/dev/full", b"x" * size)
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@posix
def test_a_pipe_is_written_directly(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE)
    write(path, b"through the pipe")
    assert reader.communicate()[0] == b"through the pipe"
    assert stat.S_ISFIFO(path.stat().st_mode)


WRITER = """
import sys
from netdsl.base.files import write_atomically
with write_atomically(sys.argv[1]) as file:
    file.write(b"new" * 200_000)
    file.flush()
    print("half", file=sys.stderr, flush=True)
    if len(sys.argv) > 2:
        sys.stdin.read()
"""


def writer(*arguments: object, shell: str = "") -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, *map(str, arguments)]
    if shell:
        command = ["bash", "-c", f'{shell}; exec "$0" "$@"', *command]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@posix
def test_stdout_and_its_ends() -> None:
    assert writer("-").communicate()[0] == b"new" * 200_000
    _, errors = writer("-", shell="exec >/dev/full").communicate()
    assert b"cannot write to the standard output: no space left on device" in errors
    _, errors = writer("-", shell="exec >&-").communicate()
    assert b"the standard output is closed" in errors
    gone = writer("-")
    assert gone.stdout is not None
    gone.stdout.close()
    assert b"BrokenPipeError" in gone.communicate()[1]


@posix
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    _, errors = writer(path, shell="ulimit -f 100").communicate()
    assert b"cannot write" in errors
    assert b"file too large" in errors
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_writer_leaves_the_old_file(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    process = writer(path, "wait")
    assert process.stderr is not None
    assert process.stderr.readline() == b"half\n"
    process.send_signal(number)
    process.communicate()
    assert process.returncode != 0
    assert path.read_bytes() == b"old"
    assert number != signal.SIGINT or len(list(tmp_path.iterdir())) == 1
    write(path)
    assert path.read_bytes() == b"new"


def test_two_writers_at_once_and_the_last_one_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with write_atomically(str(path)) as a:
        with write_atomically(str(path)) as b:
            a.write(b"a" * 100_000)
            b.write(b"b" * 100)
        assert path.read_bytes() == b"b" * 100
    assert path.read_bytes() == b"a" * 100_000
    assert len(list(tmp_path.iterdir())) == 1


def test_several_files_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    a, b = tmp_path / "a.net", tmp_path / "b.net"
    write_all({str(a): b"a", str(b): b"b"})
    assert (a.read_bytes(), b.read_bytes()) == (b"a", b"b")
    with pytest.raises(CannotWrite, match="its folder does not exist"):
        write_all({str(a): b"new", str(tmp_path / "no" / "b.net"): b"new"})
    assert sorted(path.read_bytes() for path in tmp_path.iterdir()) == [b"a", b"b"]


@posix
def test_of_several_files_the_one_that_has_no_room_is_named(tmp_path: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(CannotWrite, match=r"cannot write .*b\.net: file too large"):
            write_all(
                {str(tmp_path / name): b"x" * size for name, size in (("a.net", 1), ("b.net", 1001), ("c.net", 1))}
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_file_problems_are_one_family() -> None:
    assert all(issubclass(kind, FileProblem) for code, kind in USER_ERRORS.items() if "E0601" <= code < "E0610")


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system takes no advice")
def test_large_files_are_sent_to_the_disk_while_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("netdsl.base.files.FLUSHED", 10_000)
    sent = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _file, begin, count, _advice: sent.append((begin, count)))
    for sizes, expected in (((9_000,), []), ((9_000, 9_000, 25_000, 5_000), [(0, 18_000), (18_000, 25_000)])):
        sent.clear()
        data = b"".join(bytes([i]) * size for i, size in enumerate(sizes))
        with write_atomically(str(tmp_path / "out")) as file:
            for i, size in enumerate(sizes):
                file.write(memoryview(bytes([i]) * size))
        assert (tmp_path / "out").read_bytes() == data
        assert sent == expected
