"""The documentation that is shipped with the package, by topic."""

from __future__ import annotations

import os
import re

from netdsl.base.paths import data
from netdsl.base.suggest import suggest
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

INDEX = "README.md"
LISTED = re.compile(r"^- \[[^]]*\]\(([\w/]+\.md)\): (.*(?:\n  .*)*)", re.MULTILINE)
"""A page in the index, with its description."""


class NoSuchTopic(UserError, code="E0661", title="unknown topic", exit_code=USAGE_IS_WRONG):
    """`netdsl docs TOPIC` takes the name of a page of the documentation, such as `train` or `errors/loss`.

    ```sh
    netdsl docs
    netdsl docs tutorial
    ```
    """


def topics() -> dict[str, str]:
    """Return the topics in the order of the index, with their descriptions."""
    found = LISTED.findall(_read(INDEX))
    return {_topic(path): " ".join(text.split()) for path, text in found}


def all_topics() -> list[str]:
    """Return the names of all pages, also of those that only other pages list: `errors/loss`."""
    root = data("docs")
    files = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
    paths = (os.path.relpath(file, root).replace(os.sep, "/") for file in files if file.endswith(".md"))
    return sorted(_topic(path) for path in paths if path != INDEX)


def page(topic: str) -> str:
    """Return the text of a page, in Markdown. Raises NoSuchTopic."""
    name, known = topic.removesuffix(".md").removesuffix("/README").rstrip("/"), all_topics()
    if name not in known:
        close = [word for word in known if word.endswith(f"/{name}")] or suggest(name, known)
        meant = [f"did you mean `{word}`?" for word in close[:1]]
        raise NoSuchTopic(f"there is no topic `{topic}`", *meant or ["`netdsl docs` lists them"])
    index = f"{name}/{INDEX}"
    return _read(index if os.path.exists(os.path.join(data("docs"), index)) else f"{name}.md")


def _topic(path: str) -> str:
    return path.removesuffix(f"/{INDEX}").removesuffix(".md")


def _read(path: str) -> str:
    with open(os.path.join(data("docs"), path), encoding="utf-8") as file:
        return file.read()
