"""PyTorch's side of `benchmarks.sequences`: `python torch_sequences_contestant.py NET FOLDER THREADS MODE`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest_nets import memory, serve
from sequence_nets import RATE, SEQUENCES
from torch_sequences import NETS


def main(name: str, folder: str, threads: str, mode: str) -> None:
    torch.set_num_threads(int(threads))
    imported = memory()
    contest = SEQUENCES[name]
    net = NETS[name]()
    with np.load(Path(folder, "weights.npz")) as arrays:
        net.load_state_dict({name: torch.from_numpy(arrays[name]) for name in arrays.files})
    feeds = {name: torch.from_numpy(array) for name, array in contest.feeds().items()}
    run: Any = torch.compile(net) if mode == "compiled" else net
    optimizer = torch.optim.SGD(net.parameters(), RATE)
    target: list[torch.Tensor] = []

    def infer() -> list[Any]:
        with torch.inference_mode():
            found = run(**feeds)
        return [each.numpy() for each in (found if isinstance(found, tuple) else (found,))]

    def step() -> list[Any]:
        optimizer.zero_grad()
        output = run(**feeds)
        if not target:
            target.append(torch.from_numpy(contest.target(tuple(output.shape))))
        loss = torch.nn.functional.cross_entropy(output, target[0])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return [loss.detach().numpy().copy()]

    net.train(contest.train)
    action = step if contest.train else infer
    np.savez(Path(folder, f"{mode}.npz"), *action())
    serve(action, imported)


if __name__ == "__main__":
    main(*sys.argv[1:])
