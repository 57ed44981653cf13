"""The language server in an editor: Neovim without a screen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli_tools import environment
from tests.support.lsp_client import TIMEOUT

TEXT = "net n {\n  input x 3x8x8 # 𝒳\n  conv 3x3   4;relu # −\n  desne 10 # 𝒳\n}\n"
FORMATTED = "net n {\n  input x 3x8x8     # 𝒳\n  conv 3x3 4; relu  # −\n  dense 10          # 𝒳\n}\n"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvim") is None, reason="needs Neovim")
def test_neovim_attaches_shows_a_diagnostic_and_formats(tmp_path: Path) -> None:
    (tmp_path / "n.net").write_text(TEXT, "utf-8")
    folders = {f"XDG_{name}_HOME": str(tmp_path / name) for name in ("CACHE", "CONFIG", "DATA", "STATE")}
    server = f"{sys.executable}\n-m\nnetdsl\nlsp"
    command = [
        "nvim",
        "--headless",
        "-u",
        "NONE",
        "-i",
        "NONE",
        "n.net",
        "-c",
        f"luafile {Path(__file__).parent / 'neovim.lua'}",
    ]
    env = environment() | folders | {"NETDSL_SERVER": server}
    ran = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, timeout=2 * TIMEOUT)
    out = ran.stdout.decode("utf-8")
    assert ran.returncode == 0, out + ran.stderr.decode("utf-8", "replace")
    assert out == f"3:2 unknown layer or block `desne`\n{FORMATTED}"
