"""Batch inference with Ray Data, into a folder of Parquet files.

    python ray_infer.py NET INPUT FOLDER [--weights W] [--workers N] [--threads N] [--batch N]

INPUT is an `.npy` file with the examples along the first axis, or Parquet files with a column `id` and one that has the
name of the net's input, of numbers or of lists. Ray does not keep the order of the examples: sort the results by `id`,
which for `.npy` is the index. Needs `pip install 'ray[data]' netdsl`. The workers read INPUT and the net themselves,
from a shared file system, and the cluster needs one CPU more than they take, for the tasks that read and write.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import ray

import netdsl


class Predictor:
    """An actor: loads the net once, and computes batch after batch."""

    def __init__(self, file: str, weights: str | None, threads: int, path: str) -> None:
        net = netdsl.load(file)
        self.session = net.session(weights=weights, threads=threads)
        self.array = np.load(path, mmap_mode="r") if path.endswith(".npy") else None
        ((self.input, tensor),) = net.inputs.items()
        self.shape = tensor.shape

    def __call__(self, batch: pyarrow.Table) -> dict[str, Any]:
        ids = batch["id"].to_numpy()
        x = numbers(batch[self.input]) if self.array is None else self.array[ids]
        return {"id": ids, **self.session.predict(x.reshape(len(ids), *self.shape))}


def numbers(column: pyarrow.ChunkedArray) -> Any:
    """Return the numbers of a column of lists, in a row."""
    array = column.combine_chunks()
    while array.type.num_fields:
        array = array.flatten()
    return array.to_numpy(zero_copy_only=False)


def examples(path: str) -> ray.data.Dataset:
    """Return the examples of Parquet files, or the indices of those of an array."""
    if path.endswith(".npy"):
        return ray.data.range(len(np.load(path, mmap_mode="r")))
    return ray.data.read_parquet(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net")
    parser.add_argument("input")
    parser.add_argument("folder")
    parser.add_argument("--weights")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="CPUs of a worker")
    parser.add_argument("--batch", type=int, default=256)
    options = parser.parse_args()
    if Path(options.folder).exists():
        parser.error(f"{options.folder} exists: results of two runs would mix")
    ray.init()
    cpus = ray.cluster_resources()["CPU"]
    if options.workers * options.threads >= cpus:  # Ray would wait for ever
        parser.error(f"the workers leave no CPU of {cpus:g} to read and write with")
    examples(options.input).map_batches(
        Predictor,
        fn_constructor_args=(options.net, options.weights, options.threads, options.input),
        batch_size=options.batch,
        batch_format="pyarrow",
        num_cpus=options.threads,
        compute=ray.data.ActorPoolStrategy(size=options.workers),
    ).write_parquet(options.folder)


if __name__ == "__main__":
    main()
