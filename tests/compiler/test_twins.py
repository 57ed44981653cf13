"""Nets of the zoo against the same nets of torchvision, timm and transformers, with their random weights.

`NETDSL_TORCH_PYTHON=/path/to/python pytest -m slow tests/compiler/test_twins.py`, the path of a Python that has PyTorch
and these packages.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netdsl
from tests.support.paths import TESTS

pytestmark = pytest.mark.slow

TORCH = "NETDSL_TORCH_PYTHON"
TOLERANCE = 1e-5
"""Of an output's range."""

TV, TIMM = "torchvision.models.{}()", "timm.create_model('{}')"

SEGMENTATION = "torchvision.models.segmentation.{}(weights_backbone=None, aux_loss=False)"
FUSED = "timm.utils.model.reparameterize_model(perturbed(timm.create_model('{}')))"

CRITEO = (1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992, 5461306, 10)
CRITEO += (5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572)
"""The numbers of rows of DLRM's tables, for the Kaggle data set of Criteo."""

WORDS = 300
TEXT = {"layers": 2, "words": WORDS}
"""Nets of text are compared in a smaller size."""


def hugging_face(model: str, config: str, sizes: str, names: str = "'input_ids'") -> str:
    config = f"transformers.{config}(vocab_size={WORDS}, {sizes})"
    return f"Sequences(transformers.{model}({config}), {names})"


TWINS: dict[str, tuple[str, dict[str, Any]]] = {
    **{
        name: (model.format(name), settings)
        for model, settings, names in (
            (TV, {"pixels": 64}, "efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l"),
            (TV, {}, "regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf"),
            (TV, {}, "regnet_x_32gf regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf"),
            (TV, {}, "regnet_y_16gf regnet_y_32gf"),
            (TV, {}, "convnext_tiny convnext_small convnext_base"),
            (TV.replace("models", "models.video"), {}, "r3d_18 mc3_18 r2plus1d_18"),
            (SEGMENTATION, {"pixels": 130}, "fcn_resnet50 fcn_resnet101 deeplabv3_resnet50 deeplabv3_resnet101"),
            (TIMM, {}, "res2net50_26w_4s res2net50_48w_2s res2net50_14w_8s res2net50_26w_6s res2net50_26w_8s"),
            (TIMM, {}, "res2net101_26w_4s repvgg_a0 repvgg_b1 inception_resnet_v2 hrnet_w18 hrnet_w32 hrnet_w48"),
        )
        for name in names.split()
    },
    **{
        name: (f"torch_modules.{model}", settings)
        for name, model, settings in (
            ("dqn", "Dqn()", {}),
            ("dueling_dqn", "DuelingDqn()", {}),
            ("dcgan", "DcganGenerator()", {}),
            ("dcgan_discriminator", "DcganDiscriminator()", {}),
            ("srcnn", "Srcnn()", {}),
            ("espcn", "Espcn()", {}),
            ("edsr_baseline", "Edsr()", {}),
            ("unet", "Unet()", {}),
            ("unet_padded", "Unet(padded=True)", {}),
            ("wavenet", "Wavenet()", {}),
            ("tcn", "Tcn()", {}),
            ("vae", "Vae()", {}),
            ("nerf", "Nerf()", {}),
            ("alphazero", "Alphazero(blocks=3)", {"blocks": 3}),
            ("cyclegan", "CycleganGenerator()", {"pixels": 64}),
            ("cyclegan_discriminator", "CycleganDiscriminator()", {"pixels": 64}),
        )
    },
    "ssd300": ("Heads(torchvision.models.detection.ssd300_vgg16(weights_backbone=None))", {}),
    "vit_b_16": (TIMM.format("vit_base_patch16_224"), {}),
    "vit_b_16_torchvision": (TV.format("vit_b_16"), {}),
    "vit_s_16": (TIMM.format("vit_small_patch16_224"), {}),
    "vit_ti_16": (TIMM.format("vit_tiny_patch16_224"), {}),
    "deit_ti": (TIMM.format("deit_tiny_patch16_224"), {}),
    "deit_s_distilled": (TIMM.format("deit_small_distilled_patch16_224"), {}),
    "mixer_s_32": (TIMM.format("mixer_s32_224"), {}),
    "mixer_b_16": (TIMM.format("mixer_b16_224"), {}),
    "swin_t": (TIMM.format("swin_tiny_patch4_window7_224"), {}),
    "swin_s": (TV.format("swin_s"), {}),
    "swin_b": (TIMM.format("swin_base_patch4_window7_224"), {}),
    "gpt2": (
        hugging_face("GPT2LMHeadModel", "GPT2Config", "n_layer=2, n_embd=128, n_head=2, n_positions=64"),
        TEXT | {"width": 128, "context": 64, "length": 40},
    ),
    "bert": (
        hugging_face(
            *("BertModel", "BertConfig"),
            "num_hidden_layers=2, hidden_size=128, num_attention_heads=2, intermediate_size=512",
            "'input_ids token_type_ids attention_mask', 'last_hidden_state pooler_output'",
        ),
        TEXT | {"width": 128, "length": 40},
    ),
    "llama": (
        hugging_face(
            *("LlamaForCausalLM", "LlamaConfig"),
            "num_hidden_layers=2, hidden_size=256, num_attention_heads=8, num_key_value_heads=2, "
            "intermediate_size=512, rms_norm_eps=1e-5, tie_word_embeddings=True, max_position_embeddings=131072, "
            "rope_parameters={'rope_type': 'llama3', 'rope_theta': 500000.0, 'factor': 32.0, "
            "'low_freq_factor': 1.0, 'high_freq_factor': 4.0, 'original_max_position_embeddings': 8192}",
        ),
        TEXT | {"width": 256, "heads": 8, "kv": 2, "hidden": 512, "length": 40},
    ),
    "transformer": (
        hugging_face(
            *("MarianMTModel", "MarianConfig"),
            "d_model=128, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2, "
            "encoder_ffn_dim=256, decoder_ffn_dim=256, max_position_embeddings=64, pad_token_id=0, "
            "scale_embedding=True, activation_function='relu'",
            "'input_ids attention_mask decoder_input_ids'",
        ),
        TEXT | {"width": 128, "heads": 2, "hidden": 256, "context": 64, "source": 40, "target": 30},
    ),
    "t5_encoder": (
        hugging_face(
            *("T5EncoderModel", "T5Config"),
            "num_layers=2, d_model=128, d_kv=32, num_heads=4, d_ff=256",
            "'input_ids attention_mask', 'last_hidden_state'",
        ),
        TEXT | {"width": 128, "heads": 4, "hidden": 256, "length": 160},
    ),
    "sknet50": (TIMM.format("skresnext50_32x4d"), {}),
    "ghostnet": (TIMM.format("ghostnet_100"), {}),
    "xception": (TIMM.format("legacy_xception"), {}),
    "lstm_lm_small": ("torch_models.LanguageModel(10000, 200)", {}),
    "lstm_lm": ("torch_models.LanguageModel(300, 650)", {"words": 300}),
    "deepspeech2": ("torch_models.DeepSpeech2()", {"length": 101}),
    "seq2seq": (
        "torch_models.Translator(300, 64, 2)",
        {"source_words": 300, "target_words": 300, "width": 64, "layers": 2, "source": 20, "target": 15},
    ),
    "crnn": ("torch_models.Crnn()", {}),
    "pointnet": ("torch_models.PointNet()", {"points": 200}),
    "pointnet_segmentation": ("torch_models.PointSegmentation()", {"points": 200}),
    "dlrm": (f"torch_models.Dlrm({[min(n, 1000) for n in CRITEO]})", {"limit": 1000}),
    "repvgg": (FUSED.format("repvgg_a0"), {"fused": True}),
}
"""The twin, as an expression, and parameters of our net; the examples have the sizes of its inputs."""

Twin = Callable[..., None]
"""Has PyTorch write files of a model, of the shapes of its inputs, to a folder; more arguments are the subprocess's."""


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    """Have PyTorch write a model's weights, examples and outputs to a folder."""
    python = os.environ.get(TORCH)
    if not python:
        pytest.skip(f"{TORCH} is not set to the path of a Python that has PyTorch, torchvision, timm and transformers")
    command = [python, str(TESTS / "support" / "torch_twin.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout

        def ask(model: str, shapes: list[list[int]], folder: Path, **more: object) -> None:
            process.stdin.write(json.dumps({"model": model, "shapes": shapes, "folder": str(folder), **more}) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("name", TWINS)
def test_outputs_are_the_twins(name: str, twin: Twin, tmp_path: Path) -> None:
    model, settings = TWINS[name]
    net = netdsl.load(name, **settings)
    twin(model, [list(given.shape) for given in net.inputs.values()], tmp_path)
    run = np.load(tmp_path / "run.npz")
    feeds = {given: run[f"input{i}"] for i, given in enumerate(net.inputs)}
    results = net.session(weights=tmp_path / "weights.safetensors", threads=2)(**feeds)
    for i, (output, ours) in enumerate(results.items()):
        theirs = run[f"output{i}"]
        span = np.ptp(theirs)
        assert ours.shape == theirs.shape, output
        assert np.ptp(theirs, axis=0).max() > 100 * TOLERANCE * span, "examples that are alike would hide errors"
        assert np.abs(ours - theirs).max() <= TOLERANCE * span, output
    assert f"output{len(results)}" not in run
