"""Completion, asked of the shells themselves where they are installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from netdsl.app.docs import all_topics
from netdsl.backend.providers import KNOWN
from netdsl.elaborate.library import zoo_nets
from netdsl.layers import layer_modules
from tests.support.cli_tools import Commands, netdsl

__all__ = ["netdsl"]

SHELLS = ["bash", "zsh", "fish"]

# What is typed, and the words that are offered; with ... among others.
ASKED: dict[str, tuple[str, set[str]]] = {
    "a command": ("comp", {"compare", "compile", "completion"}),
    "an option": ("run --al", {"--allow-fallback", "--allow-nonfinite"}),
    "a choice": ("check --format ", {"text", "short", "json", "github"}),
    "a provider": ("run --provider ", set(KNOWN)),
    "a net": ("check wide_", {name for name in zoo_nets() if name.startswith("wide_")}),
    "a net or a file": ("compile my", {"my file.net", "mynets/"}),
    "a net to copy": ("zoo copy alex", {name for name in zoo_nets() if name.startswith("alex")}),
    "a layer": ("layers conv", {name for name in layer_modules() if name.startswith("conv")}),
    "an optimizer": ("layers ada", {"adam", "adamw", "adaptive_avgpool"}),
    "a topic": (
        "docs train",
        {"train", "training", "training_step", *(t for t in all_topics() if t[:9] == "training/")},
    ),
    "a folder": ("check --root my", {"mynets/"}),
    "nothing": ("run --top ", set()),
    "after an option": ("run -q resnet10", {"resnet101", "resnet101_caffe"}),
}


def ask(shell: str, script: str, typed: str) -> set[str]:
    """What a shell offers."""
    Path("script").write_text(script)
    words = typed.split(" ")
    if shell == "bash":
        listed = " ".join(f"'{word}'" for word in ["netdsl", *words])
        program = f"source ./script; COMP_WORDS=({listed}); COMP_CWORD={len(words)}; _netdsl; "
        program += 'printf "%s\\n" "${COMPREPLY[@]}"'
    else:
        program = f"source ./script; complete -C 'netdsl {typed}'"
    done = subprocess.run([shell, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    offered = {line.partition("\t")[0] for line in done.stdout.splitlines() if line}
    return {name + "/" * (Path(name).is_dir() and not name.endswith("/")) for name in offered}


@pytest.mark.parametrize("case", ASKED)
@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_offers(netdsl: Commands, shell: str, case: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    script = netdsl("completion", shell)
    assert (script.code, script.err) == (0, "")
    Path("mynets").mkdir()
    Path("my file.net").write_text("net n { input x 3 }")
    typed, wanted = ASKED[case]
    found = {name.replace("\\ ", " ").replace("'", "") for name in ask(shell, script.out, typed)}
    assert found == wanted


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_every_command_and_net(netdsl: Commands, shell: str) -> None:
    script = netdsl("completion", shell).out
    for word in ("check", "compile", "run", "zoo", "completion", "resnet50", "openvino", "allow-fallback", "conv"):
        assert word in script
    if shutil.which(shell):
        Path("script").write_text(script)
        assert subprocess.run([shell, "-n", "script"], capture_output=True).returncode == 0


def test_zsh_offers_too(netdsl: Commands) -> None:
    """zsh completes only where somebody types: its own terminal does."""
    if not shutil.which("zsh"):
        pytest.skip("no zsh here")
    Path("script").write_text(netdsl("completion", "zsh").out)
    program = """
        zmodload zsh/zpty
        zpty z zsh -f -i
        zpty -w z "PS1=; autoload -Uz compinit; compinit -u -D; source ./script; bindkey '^I' complete-word; setopt zle"
        zpty -w z $'print rea\"\"dy'
        while zpty -r z line; do [[ $line == *ready* && $line != *print* ]] && break; done
        zpty -w -n z $'netdsl check --ro\\t'
        zpty -w -n z $'x alphago_z\\t\\n'
        zpty -w z $'print do\"\"ne'
        while zpty -r z line; do print -r -- "$line"; [[ $line == *done* && $line != *print* ]] && break; done
    """
    done = subprocess.run(["zsh", "-f", "-c", program], capture_output=True, text=True, timeout=60)
    assert "--root" in done.stdout, done
    assert "alphago_zero" in done.stdout, done


def test_an_unknown_shell(netdsl: Commands) -> None:
    assert netdsl("completion", "tcsh").code == 2
    assert netdsl("completion").code == 2
