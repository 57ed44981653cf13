"""The text that the playground begins with, and the file that it saves to."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from hashlib import sha256
from urllib.parse import parse_qs, urlsplit
from zlib import decompressobj, error

from netdsl.app.zoo import index, shipped_file, shipped_text
from netdsl.base.files import read_source, read_text, write_atomically
from netdsl.base.text import Source
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

BOM = "\ufeff"
MAX_TEXT = 200_000
"""Maximum number of characters of a text that is edited in the browser."""
MAX_LINK = 400_000
"""Maximum number of characters of a link."""
EXAMPLE = """\
# A small convolutional net. Change a number, and the drawing follows.
net example(width = 16) {
  input image 1x28x28
  conv 3x3 width pad 1; relu
  maxpool 2x2
  conv 3x3 2*width pad 1; relu
  maxpool 2x2
  flatten
  linear 10
}
"""


class FileHasChanged(UserError, code="E0917", title="a file that was changed elsewhere"):
    """`netdsl play FILE` does not overwrite a FILE that another program has changed since the page read or saved it.
    Copy the text of the page if you want to keep it, and reload the page to continue with that of the file.

    ```sh
    netdsl play net.net
    ```
    """


class BadLink(UserError, code="E0918", title="a link without a net", exit_code=USAGE_IS_WRONG):
    """`netdsl play` opens a link that its page has made: the part behind `#net=` is the compressed text of a net. This
    link has no such part, or it was cut when it was copied.

    ```sh
    netdsl play 'http://127.0.0.1/#net=y0stUSjJzKtUqOZSUMjMKygtUcjMTUxPVTCsMLIAIqBoWk5iSUlqnrVCTmZeamKRgqEBVy0XAA'
    ```
    """


class Opened:
    """A text to be edited. With a `path`, it is that file's, and can be saved. `net` is a net or an alias to be shown;
    without one, it is the last net."""

    def __init__(self, name: str, text: str, path: str | None = None, net: str | None = None) -> None:
        self.name = name
        self.text = text
        self.path = path
        self.net = net

    def read(self) -> str:
        """Return the text, read again if it is a file's. Raises UserError."""
        if self.path is not None:
            self.text = read_source(self.path).text
            check_length(self.text, self.path)
        return self.text

    def save(self, text: str, revision: str) -> bool:
        """Write a text to the file in one step, with its line ends and byte order mark; return whether it differs from
        the text before. `revision` is that of the text that was edited. Raises UserError, also if the file has another
        one by now."""
        assert self.path is not None, "only the text of a file is saved"
        raw = read_text(self.path)
        known = Source(self.path, raw).text
        if text == known:
            return False
        if revision != revision_of(known):
            raise FileHasChanged(
                f"{self.path} was changed by another program, and is not overwritten",
                "reload the page to continue with the text of the file",
            )
        ends = "\r\n" if "\r\n" in raw and "\n" not in raw.replace("\r\n", "") else "\n"
        mark = BOM if raw.startswith(BOM) else ""
        with write_atomically(self.path) as file:
            file.write((mark + text.replace("\n", ends)).encode())
        return True


def revision_of(text: str) -> str:
    """Return a digest of a text, by which a change of it is noticed."""
    return sha256(text.encode()).hexdigest()


def open_text(file: str | None) -> Opened:
    """Return what FILE names: a file, a net of the zoo, or a link that the page has made; an example without one.
    Raises UserError."""
    if file is None:
        return Opened("example", EXAMPLE)
    if "#net=" in file or "://" in file:
        return Opened("link", text_of_link(file))
    path, colon, net = file.rpartition(":") if not os.path.lexists(file) else (file, "", "")
    path, net = (path, net) if colon and os.path.isfile(path) else (file, "")
    if os.path.lexists(path) or path.endswith((".net", ".netdsl")) or os.sep in path.removeprefix("zoo/"):
        opened = Opened(os.path.basename(path), "", os.path.abspath(path), net or None)
        opened.read()
        return opened
    return shipped(file)


def shipped(name: str) -> Opened:
    """Return the text of a net of the zoo. Raises UserError."""
    file = shipped_file(name)
    return Opened(f"zoo/{file}", shipped_text(file), net=name if name in index() else None)


def text_of_link(link: str) -> str:
    """Return the text in a link of the page: `#net=` and the text, compressed (RFC 1951) and in base64. Raises
    BadLink."""
    packed = parse_qs(urlsplit(link[:MAX_LINK]).fragment).get("net", [""])[0]
    try:
        inflate = decompressobj(-15)
        data = inflate.decompress(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)), 4 * MAX_TEXT)
        if not packed or not inflate.eof:
            raise ValueError
        text = data.decode()
    except (error, NotBase64, ValueError):  # not compressed, not base64, not UTF-8, or too long
        raise BadLink("the link has no text of a net", "copy the whole link, and quote it for the shell") from None
    check_length(text, "the text of the link")
    return text


def check_length(text: str, name: str, most: int = MAX_TEXT) -> None:
    """Raise UserError for a text that is too long for the page."""
    if len(text) > most:
        raise UserError(f"{name} has {len(text):,} characters; the page takes up to {most:,}")
