"""Nets of the zoo as PyTorch modules: those that neither torchvision nor timm nor transformers have.

Each has the names and layers of the implementation that its spec names, and its own `examples` if it reads integers.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def numbers(count: int, length: int) -> torch.Tensor:
    return torch.randint(count, (2, length))


class LanguageModel(nn.Module):
    """`RNNModel` of PyTorch's example word_language_model: Zaremba et al. (2014)."""

    def __init__(self, words: int, width: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, width, 2, batch_first=True)
        self.decoder = nn.Linear(width, words)

    def examples(self, tokens: list[int]) -> list[torch.Tensor]:
        return [numbers(self.encoder.num_embeddings, *tokens)]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.rnn(self.encoder(tokens))[0]).transpose(1, 2)


class BatchRNN(nn.Module):
    """`BatchRNN` of deepspeech.pytorch, of [T, N, C]."""

    def __init__(self, channels: int, hidden: int, *, norm: bool) -> None:
        super().__init__()
        if norm:
            self.batch_norm = nn.Module()
            self.batch_norm.module = nn.BatchNorm1d(channels)
        self.rnn = nn.GRU(channels, hidden, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if hasattr(self, "batch_norm"):
            x = self.batch_norm.module(x.flatten(0, 1)).view(x.shape)
        y, _ = self.rnn(x)
        return y.view(*y.shape[:2], 2, -1).sum(2)


class DeepSpeech2(nn.Module):
    """`DeepSpeech` of deepspeech.pytorch with GRUs, of spectrograms of one length: Amodei et al. (2015)."""

    def __init__(self, layers: int = 5, hidden: int = 800, letters: int = 29) -> None:
        super().__init__()
        self.conv = nn.Module()
        self.conv.seq_module = nn.Sequential(
            *(nn.Conv2d(1, 32, (41, 11), (2, 2), (20, 5)), nn.BatchNorm2d(32), nn.Hardtanh(0, 20)),
            *(nn.Conv2d(32, 32, (21, 11), (2, 1), (10, 5)), nn.BatchNorm2d(32), nn.Hardtanh(0, 20)),
        )
        self.rnns = nn.Sequential(*(BatchRNN(hidden if i else 1312, hidden, norm=i > 0) for i in range(layers)))
        self.fc = nn.Sequential(nn.Module())
        self.fc[0].module = nn.Sequential(nn.BatchNorm1d(hidden), nn.Linear(hidden, letters, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.rnns(self.conv.seq_module(x).flatten(1, 2).permute(2, 0, 1))
        return self.fc[0].module(x.flatten(0, 1)).view(*x.shape[:2], -1).permute(1, 2, 0)


class Half(nn.Module):
    """The embedding and the LSTM of an encoder or decoder."""

    def __init__(self, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.rnn = nn.LSTM(width, width, layers, batch_first=True)


class Translator(nn.Module):
    """Luong et al. (2015): global attention by dot products to a source whose word 0 is padding."""

    def __init__(self, words: int, width: int, layers: int) -> None:
        super().__init__()
        self.encoder = Half(words, width, layers)
        self.decoder = Half(words, width, layers)
        self.decoder.combine = nn.Linear(2 * width, width, bias=False)
        self.decoder.out = nn.Linear(width, words, bias=False)

    def examples(self, _: list[int], source: list[int], target: list[int]) -> list[torch.Tensor]:
        count = self.encoder.embedding.num_embeddings
        lengths = torch.tensor([[source[0]], [source[0] // 2]])
        words = 1 + numbers(count - 1, *source)
        return [lengths, words * (torch.arange(*source) < lengths), numbers(count, *target)]

    def forward(self, lengths: torch.Tensor, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        words = self.encoder.embedding(source)
        packed = pack_padded_sequence(words, lengths[:, 0], batch_first=True, enforce_sorted=False)
        packed, state = self.encoder.rnn(packed)
        memory, _ = pad_packed_sequence(packed, batch_first=True, total_length=source.shape[1])
        h, _ = self.decoder.rnn(self.decoder.embedding(target), state)
        scores = (h @ memory.mT).masked_fill((source == 0)[:, None], -torch.inf)
        context = scores.softmax(-1) @ memory
        return self.decoder.out(self.decoder.combine(torch.cat([context, h], -1)).tanh()).mT


class BidirectionalLSTM(nn.Module):
    """`BidirectionalLSTM` of crnn.pytorch, of [T, N, C]."""

    def __init__(self, channels: int, hidden: int, units: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(channels, hidden, bidirectional=True)
        self.embedding = nn.Linear(2 * hidden, units)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embedding(self.rnn(x)[0])


class Crnn(nn.Module):
    """`CRNN` of crnn.pytorch: Shi et al. (2015)."""

    def __init__(self, classes: int = 37, hidden: int = 256) -> None:
        super().__init__()
        self.cnn = nn.Sequential()
        channels = 1
        for i, n in enumerate([64, 128, 256, 256, 512, 512, 512]):
            self.cnn.add_module(f"conv{i}", nn.Conv2d(channels, n, 2 if i == 6 else 3, 1, 0 if i == 6 else 1))
            if i in (2, 4, 6):
                self.cnn.add_module(f"batchnorm{i}", nn.BatchNorm2d(n))
            self.cnn.add_module(f"relu{i}", nn.ReLU())
            if i in (0, 1):
                self.cnn.add_module(f"pooling{i}", nn.MaxPool2d(2, 2))
            if i in (3, 5):
                self.cnn.add_module(f"pooling{(i + 1) // 2}", nn.MaxPool2d((2, 2), (2, 1), (0, 1)))
            channels = n
        self.rnn = nn.Sequential(BidirectionalLSTM(512, hidden, hidden), BidirectionalLSTM(hidden, hidden, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.cnn(x).squeeze(2).permute(2, 0, 1)).permute(1, 2, 0)


class Transform(nn.Module):
    """`STN3d` and `STNkd` of pointnet.pytorch."""

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k
        sizes = [k, 64, 128, 1024, 512, 256]
        for i in range(5):
            name, kind = (f"conv{i + 1}", nn.Conv1d) if i < 3 else (f"fc{i - 2}", nn.Linear)
            setattr(self, name, kind(sizes[i], sizes[i + 1], *[1] * (i < 3)))
            setattr(self, f"bn{i + 1}", nn.BatchNorm1d(sizes[i + 1]))
        self.fc3 = nn.Linear(256, k * k)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.bn3(self.conv3(x)).relu().amax(2)
        x = self.bn4(self.fc1(x)).relu()
        x = self.bn5(self.fc2(x)).relu()
        return self.fc3(x).view(-1, self.k, self.k) + torch.eye(self.k)


class PointFeatures(nn.Module):
    """`PointNetfeat` of pointnet.pytorch with `feature_transform`: the features of all points, and those of each."""

    def __init__(self) -> None:
        super().__init__()
        self.stn = Transform(3)
        self.conv1, self.bn1 = nn.Conv1d(3, 64, 1), nn.BatchNorm1d(64)
        self.conv2, self.bn2 = nn.Conv1d(64, 128, 1), nn.BatchNorm1d(128)
        self.conv3, self.bn3 = nn.Conv1d(128, 1024, 1), nn.BatchNorm1d(1024)
        self.fstn = Transform(64)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.bmm(x.mT, self.stn(x)).mT
        x = self.bn1(self.conv1(x)).relu()
        local = torch.bmm(x.mT, self.fstn(x)).mT
        x = self.bn2(self.conv2(local)).relu()
        return self.bn3(self.conv3(x)).amax(2), local


class PointNet(nn.Module):
    """`PointNetCls` of pointnet.pytorch, without its softmax: Qi et al. (2016)."""

    def __init__(self, classes: int = 40) -> None:
        super().__init__()
        self.feat = PointFeatures()
        self.fc1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.fc2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)
        self.fc3 = nn.Linear(256, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn1(self.fc1(self.feat(x)[0])).relu()
        return self.fc3(self.bn2(self.fc2(x)).relu())


class PointSegmentation(nn.Module):
    """`PointNetDenseCls` of pointnet.pytorch, without its softmax."""

    def __init__(self, classes: int = 50) -> None:
        super().__init__()
        self.feat = PointFeatures()
        self.conv1, self.bn1 = nn.Conv1d(1088, 512, 1), nn.BatchNorm1d(512)
        self.conv2, self.bn2 = nn.Conv1d(512, 256, 1), nn.BatchNorm1d(256)
        self.conv3, self.bn3 = nn.Conv1d(256, 128, 1), nn.BatchNorm1d(128)
        self.conv4 = nn.Conv1d(128, classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        whole, local = self.feat(x)
        x = torch.cat([whole[:, :, None].expand(-1, -1, local.shape[2]), local], 1)
        x = self.bn1(self.conv1(x)).relu()
        x = self.bn2(self.conv2(x)).relu()
        return self.conv4(self.bn3(self.conv3(x)).relu())


class Dlrm(nn.Module):
    """`DLRM_Net` of PyTorch's dlrm_s_pytorch.py with the dot interaction, without its sigmoid: Naumov et al. (2019)."""

    def __init__(self, rows: list[int], width: int = 16) -> None:
        super().__init__()
        self.emb_l = nn.ModuleList(nn.EmbeddingBag(n, width, mode="sum") for n in rows)
        self.bot_l = perceptron([13, 512, 256, 64, width])
        pairs = len(rows) * (len(rows) + 1) // 2
        self.top_l = perceptron([width + pairs, 512, 256, 1])[:-1]

    def examples(self, *_: list[int]) -> list[torch.Tensor]:
        kinds = [torch.randint(table.num_embeddings, (2,)) for table in self.emb_l]
        return [torch.randn(2, 13), torch.stack(kinds, 1)]

    def forward(self, numbers: torch.Tensor, kinds: torch.Tensor) -> torch.Tensor:
        x = self.bot_l(numbers)
        rows = [table(kinds[:, i : i + 1]) for i, table in enumerate(self.emb_l)]
        t = torch.stack([x, *rows], 1)
        i, j = torch.tril_indices(t.shape[1], t.shape[1], -1)
        return self.top_l(torch.cat([x, torch.bmm(t, t.mT)[:, i, j]], 1))


def perceptron(sizes: list[int]) -> nn.Sequential:
    return nn.Sequential(*(each for a, b in pairwise(sizes) for each in (nn.Linear(a, b), nn.ReLU())))
