"""Rename files of the zoo: names of Hugging Face's transformers, timm and torchvision become those of the nets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl as netdsl_package
from netdsl.base.user_error import UserError
from netdsl.weights.npz import MappedWeights
from netdsl.weights.rename import apply_rules, read_rules
from tests.support.cli_tools import Commands, netdsl
from tests.support.paths import DATA, ROOT

__all__ = ["netdsl"]

STATE_DICTS: dict[str, dict[str, list[int]]] = json.loads((DATA / "state_dicts.json").read_text())
SPECS = ROOT / "specs"
MODELS = [name for name in STATE_DICTS if name != "source"]

Shapes = dict[str, tuple[int, ...]]


def affine(name: str, outputs: int, inputs: int = 0) -> Shapes:
    """A linear layer, or a normalization without inputs."""
    return {f"{name}.weight": (outputs, inputs) if inputs else (outputs,), f"{name}.bias": (outputs,)}


def gpt2() -> Shapes:
    found: Shapes = {"wte.weight": (16, 8), "wpe.weight": (10, 8), **affine("ln_f", 8)}
    for at in (0, 1):
        found |= affine(f"h.{at}.ln_1", 8) | affine(f"h.{at}.ln_2", 8)
        found |= affine(f"h.{at}.attn.c_attn", 24, 8) | affine(f"h.{at}.attn.c_proj", 8, 8)
        found |= affine(f"h.{at}.mlp.c_fc", 32, 8) | affine(f"h.{at}.mlp.c_proj", 8, 32)
    return found


def bert() -> Shapes:
    sizes = {"word": 16, "position": 10, "token_type": 2}
    found: Shapes = {f"embeddings.{name}_embeddings.weight": (size, 8) for name, size in sizes.items()}
    found |= affine("embeddings.LayerNorm", 8) | affine("pooler.dense", 8, 8)
    for at in ("encoder.layer.0", "encoder.layer.1"):
        for name in ("self.query", "self.key", "self.value", "output.dense"):
            found |= affine(f"{at}.attention.{name}", 8, 8)
        found |= affine(f"{at}.attention.output.LayerNorm", 8) | affine(f"{at}.output.LayerNorm", 8)
        found |= affine(f"{at}.intermediate.dense", 12, 8) | affine(f"{at}.output.dense", 8, 12)
    return found


def llama() -> Shapes:
    found: Shapes = {"embed_tokens.weight": (16, 8), "norm.weight": (8,), "lm_head.weight": (16, 8)}
    for at in ("layers.0", "layers.1"):
        found |= {f"{at}.{name}_layernorm.weight": (8,) for name in ("input", "post_attention")}
        found |= {
            f"{at}.self_attn.{name}_proj.weight": (size, 8) for name, size in zip("qkvo", (8, 4, 4, 8), strict=True)
        }
        found |= {f"{at}.mlp.{name}_proj.weight": (12, 8) for name in ("gate", "up")}
        found[f"{at}.mlp.down_proj.weight"] = (8, 12)
    return found


def vit() -> Shapes:
    found: Shapes = {"cls_token": (8,), "pos_embed": (5, 8), "patch_embed.proj.weight": (8, 3, 16, 16)}
    found |= {"patch_embed.proj.bias": (8,)} | affine("norm", 8) | affine("head", 4, 8)
    for at in ("blocks.0", "blocks.1"):
        found |= affine(f"{at}.norm1", 8) | affine(f"{at}.attn.qkv", 24, 8) | affine(f"{at}.attn.proj", 8, 8)
        found |= affine(f"{at}.norm2", 8) | affine(f"{at}.mlp.fc1", 12, 8) | affine(f"{at}.mlp.fc2", 8, 12)
    return found


def convnext(
    depths: tuple[int, ...] = (1, 1, 2, 1), widths: tuple[int, ...] = (8, 16, 24, 32), classes: int = 4
) -> Shapes:
    found: Shapes = {"features.0.0.weight": (widths[0], 3, 4, 4), "features.0.0.bias": (widths[0],)}
    found |= affine("features.0.1", widths[0])
    found |= affine("classifier.0", widths[-1]) | affine("classifier.2", classes, widths[-1])
    for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
        if stage:
            down, before = f"features.{2 * stage}", widths[stage - 1]
            found |= affine(f"{down}.0", before)
            found |= {f"{down}.1.weight": (width, before, 2, 2), f"{down}.1.bias": (width,)}
        for at in (f"features.{2 * stage + 1}.{block}" for block in range(depth)):
            found |= {f"{at}.block.0.weight": (width, 1, 7, 7), f"{at}.block.0.bias": (width,)}
            found |= affine(f"{at}.block.2", width) | {f"{at}.layer_scale": (width,)}
            found |= affine(f"{at}.block.3", 4 * width, width) | affine(f"{at}.block.5", width, 4 * width)
    return found


NETS: dict[str, Shapes] = {"gpt2": gpt2(), "bert": bert(), "llama": llama(), "vit": vit(), "convnext": convnext()}
"""Names and shapes of the weights of the nets: those that their tables and labels require."""

PARAMETERS = re.compile(r"(cls_token|pos_embed|layer_scale)$")
"""Weights of `param`, which fit a tensor that differs by axes of 1."""


def renamed(model: str, tensors: dict[str, list[int]]) -> Shapes:
    rules = read_rules(str(SPECS / f"{model.split()[0]}.rename"))
    view = apply_rules(MappedWeights({name: np.zeros(shape, "f4") for name, shape in tensors.items()}), rules)
    assert not view.doubled
    return {
        name: tuple(size for size in entry.shape if size != 1) if PARAMETERS.search(name) else entry.shape
        for name, entry in view.entries.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_names_of_other_libraries(model: str) -> None:
    found, wanted = renamed(model, STATE_DICTS[model]), NETS[model.split()[0]]
    if model.endswith("GPT2LMHeadModel"):  # which is tied to wte
        assert found.pop("lm_head.weight") == found["wte.weight"]
    assert found == wanted


@pytest.mark.parametrize(
    ("model", "old"),
    [
        (
            "gpt2 transformers.GPT2Model",
            {f"h.{at}.attn.{name}": [] for at in (0, 1) for name in ("bias", "masked_bias")},
        ),
        ("gpt2 transformers.GPT2LMHeadModel", {"transformer.h.0.attn.bias": [1, 1, 10, 10], "lm_head.weight": None}),
        ("bert transformers.BertModel", {"embeddings.position_ids": [1, 10]}),
        ("llama transformers.LlamaForCausalLM", {"model.layers.0.self_attn.rotary_emb.inv_freq": [1]}),
    ],
)
def test_the_buffers_of_older_files_are_dropped(model: str, old: dict[str, Any]) -> None:
    """Names that older versions of transformers wrote; None leaves one out, as safetensors files of tied weights do."""
    tensors = {name: shape for name, shape in {**STATE_DICTS[model], **old}.items() if shape is not None}
    assert renamed(model, tensors) == NETS[model.split()[0]]


def test_the_normalizations_of_berts_old_files() -> None:
    """bert-base-uncased calls the weight and bias of its normalizations gamma and beta, as TensorFlow did."""
    shapes = STATE_DICTS["bert transformers.BertForPreTraining"]
    words = {"weight": "gamma", "bias": "beta"}
    old = {
        re.sub(r"(?<=LayerNorm\.)(weight|bias)$", lambda m: words[m[1]], key): shape for key, shape in shapes.items()
    }
    assert sum(key.endswith((".gamma", ".beta")) for key in old) == 12
    assert renamed("bert", old) == NETS["bert"]


def test_the_mlps_of_torchvisions_old_files() -> None:
    shapes = STATE_DICTS["vit torchvision.models.VisionTransformer"]
    old = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): s for key, s in shapes.items()
    }
    assert old != shapes
    assert renamed("vit", old) == NETS["vit"]


def test_the_convnext_of_the_zoo_has_these_names() -> None:
    net = netdsl_package.load("convnext")
    own = {name: tuple(n for n in p.shape if n > 1 or "scale" not in name) for name, p in net.parameters.items()}
    assert own == convnext((3, 3, 9, 3), (96, 192, 384, 768), 1000)


def test_the_names_of_a_convnext_of_timm() -> None:
    """By names, with the blocks of the published model."""
    net = netdsl_package.load("convnext")
    timm: Shapes = {}
    for name, shape in STATE_DICTS["convnext timm.models.ConvNeXt"].items():
        stage = re.match(r"stages\.(\d)\.blocks", name)
        for block in range((3, 3, 9, 3)[int(stage[1])] if stage else 1):
            timm[re.sub(r"blocks\.\d", f"blocks.{block}", name)] = tuple(shape)
    rules = read_rules(str(SPECS / "convnext.rename"))
    view = apply_rules(MappedWeights({name: np.zeros(shape, "f4") for name, shape in timm.items()}), rules)
    assert view.entries.keys() == net.parameters.keys()


# --- whole files ---------------------------------------------------------------------------------------------------

STAND_IN = """
# The weights of GPT-2, without its attention.
net gpt2 {
  input places [10] dtype i64
  wpe: embedding 10 8; x: identity
  input tokens [10] dtype i64
  wte: embedding 16 8
  add x { }
  h: repeat 2 {
    ln_1: layernorm; attn: { c_attn: linear 24; slice 0 0 8; c_proj: linear 8 }
    ln_2: layernorm; mlp: { c_fc: linear 32; c_proj: linear 8 }
  }
  ln_f: layernorm
  lm_head: linear 16 bias off tied wte
}
"""


@pytest.fixture(name="values")
def _values() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {name: random.normal(size=shape).astype("f4") for name, shape in NETS["gpt2"].items()}


def of_hugging_face(values: dict[str, np.ndarray], prefix: str = "") -> dict[str, np.ndarray]:
    """The same model as transformers saves it: with its weights [in, out]; as a whole with masks and its tied head."""
    turned = {name: array.T if ".c_" in name and array.ndim == 2 else array for name, array in values.items()}
    masks = {f"h.{at}.attn.bias": np.ones((1, 1, 10, 10), bool) for at in (0, 1)} if prefix else {}
    head = {"lm_head.weight": values["wte.weight"]} if prefix else {}
    return {**{f"{prefix}{name}": array.copy() for name, array in {**turned, **masks}.items()}, **head}


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_a_file_of_hugging_face_loads_as_it_is(netdsl: Commands, values: dict[str, np.ndarray], prefix: str) -> None:
    """Without a prefix all names are the net's, and only shapes tell that the matrices are transposed."""
    netdsl.write(gpt2=STAND_IN)
    Path("gpt2.rename").write_bytes((SPECS / "gpt2.rename").read_bytes())
    np.savez("own.npz", **values)
    np.savez("hf.npz", **of_hugging_face(values, prefix))
    own = netdsl("compile", "gpt2.net", "--weights", "own.npz", "-o", "own.onnx")
    assert (own.code, "transposed" in own.err) == (0, False)
    done = netdsl("compile", "gpt2.net", "--weights", "hf.npz", "-o", "hf.onnx")
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    assert lines[0] == "8 weights transposed:"
    assert f"  h.0.attn.c_proj.weight  8x8   <-  {prefix}h.0.attn.c_proj.weight  8x8 transposed" in lines
    assert Path("hf.onnx").read_bytes() == Path("own.onnx").read_bytes()
    again = netdsl("compile", "gpt2.net", "--weights", "own.onnx", "-o", "again.onnx")
    assert (again.code, "transposed" in again.err) == (0, False)
    assert Path("again.onnx").read_bytes() == Path("own.onnx").read_bytes()


def test_a_rename_file_that_does_not_help_is_not_used(netdsl: Commands, values: dict[str, np.ndarray]) -> None:
    """A model whose layers are linear, with masks: the masks are unexpected, and nothing is transposed."""
    netdsl.write(gpt2=STAND_IN)
    Path("gpt2.rename").write_bytes((SPECS / "gpt2.rename").read_bytes())
    masks = {f"h.{at}.attn.bias": np.ones((1, 1, 10, 10), bool) for at in (0, 1)}
    np.savez("linear.npz", **values, **masks)
    told = netdsl("compile", "gpt2.net", "--weights", "linear.npz").err
    assert "2 unexpected:\n    h.0.attn.bias 1x1x10x10" in told
    assert "wrong shape" not in told
    assert netdsl("compile", "gpt2.net", "--weights", "linear.npz", "--drop", r"\.attn\.bias$").code == 0
    own = {name: array for name, array in values.items() if not name.startswith("ln_f")}
    np.savez("part.npz", **of_hugging_face(own))
    done = netdsl("compile", "gpt2.net", "--weights", "part.npz", "--partial", "-o", "part.onnx")
    assert (done.code, "8 weights transposed" in done.err, "2 of 28 weights are" in done.err) == (0, True, True)


def test_one_transposition_is_enough(tmp_path: Path, values: dict[str, np.ndarray]) -> None:
    """A file whose square matrix an option transposes, and then the rename file."""
    (tmp_path / "gpt2.net").write_text(STAND_IN)
    (tmp_path / "gpt2.rename").write_bytes((SPECS / "gpt2.rename").read_bytes())
    net = netdsl_package.load(tmp_path / "gpt2.net")
    with pytest.raises(
        UserError, match=r"`h.0.attn.c_proj.weight` of the mapping is transposed twice: by an option and"
    ):
        net.to_onnx(weights=of_hugging_face(values), transpose=[r"^h.0.attn.c_proj.weight$"])
