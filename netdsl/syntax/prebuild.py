"""Write the prebuilt parser after a change of the grammar or of Lark: `python -m netdsl.syntax.prebuild`."""

from __future__ import annotations

from netdsl.syntax.table import PREBUILT, grammar, key, make


def main() -> None:
    text = grammar()
    with open(PREBUILT, "wb") as file:
        file.write(key(text))
        make(text).save(file)


if __name__ == "__main__":
    main()
