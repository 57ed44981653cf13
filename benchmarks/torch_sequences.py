"""Transformers and a recurrent language model in PyTorch, with netdsl's names of their weights."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.functional import gelu, linear, relu, scaled_dot_product_attention

if TYPE_CHECKING:
    from collections.abc import Callable


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, **how: bool | torch.Tensor) -> torch.Tensor:
    """Return scaled dot-product attention of [N, L, C], by PyTorch's fused kernel."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `names` are those of the seven parts."""

    def __init__(self, width: int, heads: int, names: str, eps: float, act: nn.Module, causal: bool) -> None:
        super().__init__()
        norm1, attn, qkv, proj, norm2, fc1, fc2 = self.names = names.split()
        setattr(self, norm1, nn.LayerNorm(width, eps))
        setattr(self, norm2, nn.LayerNorm(width, eps))
        setattr(self, attn, nn.ModuleDict({qkv: nn.Linear(width, 3 * width), proj: nn.Linear(width, width)}))
        self.mlp = nn.ModuleDict({fc1: nn.Linear(width, 4 * width), fc2: nn.Linear(4 * width, width)})
        self.act, self.heads, self.causal = act, heads, causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm1, attn, qkv, proj, norm2, fc1, fc2 = self.names
        parts = getattr(self, attn)
        q, k, v = parts[qkv](getattr(self, norm1)(x)).chunk(3, -1)
        x = x + parts[proj](attend(q, k, v, self.heads, is_causal=self.causal))
        return x + self.mlp[fc2](self.act(self.mlp[fc1](getattr(self, norm2)(x))))


class ViT(nn.Module):
    def __init__(self, width: int, heads: int, depth: int = 12, classes: int = 1000) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(width, 1))
        self.pos_embed = nn.Parameter(torch.zeros(197, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 16, 16)})
        names = "norm1 attn qkv proj norm2 fc1 fc2"
        self.blocks = nn.ModuleList([Block(width, heads, names, 1e-6, nn.GELU(), False) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Linear(width, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed["proj"](image).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.T.expand(len(x), 1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class GPT(nn.Module):
    def __init__(self, depth: int, width: int, heads: int, words: int, length: int) -> None:
        super().__init__()
        self.wte = nn.Embedding(words, width)
        self.wpe = nn.Embedding(length, width)
        names = "ln_1 attn c_attn c_proj ln_2 c_fc c_proj"
        self.h = nn.ModuleList([Block(width, heads, names, 1e-5, nn.GELU("tanh"), True) for _ in range(depth)])
        self.ln_f = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
        for block in self.h:
            x = block(x)
        return linear(self.ln_f(x), self.wte.weight).transpose(1, 2)


class BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        square = partial(nn.Linear, width, width)
        self.heads = heads
        self.attention = nn.ModuleDict(
            {
                "self": nn.ModuleDict({name: square() for name in ("query", "key", "value")}),
                "output": nn.ModuleDict({"dense": square(), "LayerNorm": nn.LayerNorm(width, 1e-12)}),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, 4 * width)})
        self.output = nn.ModuleDict({"dense": nn.Linear(4 * width, width), "LayerNorm": nn.LayerNorm(width, 1e-12)})

    def forward(self, x: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        q, k, v = (each(x) for each in self.attention["self"].values())
        output = self.attention["output"]
        x = output["LayerNorm"](x + output["dense"](attend(q, k, v, self.heads, attn_mask=seen)))
        return self.output["LayerNorm"](x + self.output["dense"](gelu(self.intermediate["dense"](x))))


class Bert(nn.Module):
    def __init__(self, depth: int = 12, width: int = 768, words: int = 30522) -> None:
        super().__init__()
        sizes = {"word_embeddings": words, "position_embeddings": 512, "token_type_embeddings": 2}
        self.embeddings = nn.ModuleDict({name: nn.Embedding(size, width) for name, size in sizes.items()})
        self.embeddings["LayerNorm"] = nn.LayerNorm(width, 1e-12)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList([BertLayer(width, width // 64) for _ in range(depth)])})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(width, width)})

    def forward(self, input_ids: torch.Tensor, token_type_ids: torch.Tensor, attention_mask: torch.Tensor):  # type: ignore[no-untyped-def]
        words, places, kinds, norm = self.embeddings.values()
        x = norm(words(input_ids) + places.weight[: input_ids.shape[1]] + kinds(token_type_ids))
        seen = attention_mask[:, None, None].bool()
        for each in self.encoder["layer"]:
            x = each(x, seen)
        return x.transpose(1, 2), self.pooler["dense"](x[:, 0]).tanh()


class EncoderLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width) for name in names})
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        *qkv, output = self.self_attn.values()
        q, k, v = (each(x) for each in qkv)
        x = self.norm1(x + output(attend(q, k, v, self.heads)))
        return self.norm2(x + self.fc2(relu(self.fc1(x))))


class Encoder(nn.Module):
    def __init__(self, depth: int = 4, width: int = 256, heads: int = 4, words: int = 5000, length: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.places = nn.Embedding(length, width)
        self.layers = nn.ModuleList([EncoderLayer(width, heads) for _ in range(depth)])
        self.head = nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens) + self.places.weight[: tokens.shape[1]]
        for each in self.layers:
            x = each(x)
        return self.head(x).transpose(1, 2)


class RecurrentModel(nn.Module):
    def __init__(self, cell: type[nn.LSTM | nn.GRU], words: int = 10_000, width: int = 650) -> None:
        super().__init__()
        self.encoder = nn.Embedding(words, width)
        self.rnn = cell(width, width, 2, batch_first=True)
        self.decoder = nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.rnn(self.encoder(tokens))[0]).transpose(1, 2)


NETS: dict[str, Callable[[], nn.Module]] = {
    "vit_b": partial(ViT, 768, 12),
    "gpt2": partial(GPT, 12, 768, 12, 50257, 512),
    "bert": Bert,
    "lstm_lm": partial(RecurrentModel, nn.LSTM),
    "vit_ti_step": partial(ViT, 192, 3),
    "char_gpt_step": partial(GPT, 4, 256, 4, 256, 128),
    "lstm_lm_step": partial(RecurrentModel, nn.LSTM),
    "gru_lm_step": partial(RecurrentModel, nn.GRU),
    "encoder_step": Encoder,
}
