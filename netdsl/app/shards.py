"""The shard of a run, given or read from the environment of a cluster's job, and the name of its output."""

from __future__ import annotations

import glob
import os
import re
from typing import TYPE_CHECKING, NamedTuple

from netdsl.app.output import is_on_disk
from netdsl.base.files import CannotWrite, reason
from netdsl.base.user_error import USAGE_IS_WRONG, UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

KUBERNETES_INDEX, COUNT = "JOB_COMPLETION_INDEX", "NETDSL_SHARDS"
"""Kubernetes tells a pod its index, but not the number of them, which the manifest has to repeat."""

SLURM_ARRAY = "SLURM_ARRAY_TASK_"

RANKS = (
    ("PMI_RANK", "PMI_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables of MPICH and those who follow it, of Open MPI, and of the tasks of `srun`."""

SHARD = "{shard}"
DIGITS = 3
"""Minimum number of digits in names of parts, which sort by name."""

BY_HAND = "or name the shard: --shard I/N"


class UnknownShard(
    UserError, code="E0633", title="a shard that the environment does not tell", exit_code=USAGE_IS_WRONG
):
    """`--shard auto` reads the shard from the environment of a SLURM array, of a Kubernetes indexed job or of ranks
    under `srun` or `mpirun`. It tells none, or only half of it, or two of them disagree. Elsewhere, such as in arrays
    of other schedulers, the shard is given by hand.

    ```sh
    netdsl run net.onnx x.npy --shard 3/16 -o 'parts/{shard}.npz'
    ```
    """


class WrongOutputName(
    UserError, code="E0635", title="an output name that does not fit the shard", exit_code=USAGE_IS_WRONG
):
    """In the name of an output, `{shard}` stands for the shard, as `003-of-016`. It needs `--shard`, and `--shard auto`
    needs it, or all shards would write the same file. With a shard, braces of a file's own name are doubled.

    ```sh
    netdsl run net.onnx x.npy --shard 3/16 -o 'parts/{shard}.npz'
    netdsl run net.onnx x.npy --shard 3/16 -o '{{x}}-{shard}.npz'
    ```
    """


class OtherPart(UserError, code="E0636", title="an existing part of another run", exit_code=USAGE_IS_WRONG):
    """The output exists and is not that of this run: it has another shard, or comes from another model or other
    inputs. Joined with the parts of this run, the result would be wrong. Without `--skip-done`, only parts of other
    shards are refused.

    ```sh
    netdsl run net.onnx x.npy --shard 3/16 -o 'new/{shard}.npz'
    netdsl run net.onnx x.npy --shard 3/16 -o 'parts/{shard}.npz' --force
    ```
    """


class Shard(NamedTuple):
    """Block i of n of the examples, counted from 0."""

    i: int
    n: int

    def rows(self, total: int) -> range:
        """Return the examples of the block; blocks differ in length by at most one."""
        return range(self.i * total // self.n, (self.i + 1) * total // self.n)

    @property
    def name(self) -> str:
        """The shard in names of files, which sort in the order of the shards."""
        width = max(DIGITS, len(str(self.n)))
        return f"{self.i:0{width}}-of-{self.n:0{width}}"

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"


class _Place(NamedTuple):
    """A shard with the variable that tells it."""

    shard: Shard
    variable: str

    def __str__(self) -> str:
        return f"{self.variable} says {self.shard}"


def shard_from(environment: Mapping[str, str]) -> tuple[Shard, str]:
    """Return the shard of this process and the variables that tell it. Raises UnknownShard.

    Each job of an array can have several ranks: array 2 of 4 and rank 0 of 8 are shard 16 of 32.
    """
    array = _agreed([*_slurm_array(environment), *_indexed_job(environment)])
    ranks = [place for names in RANKS for place in _ranks(environment, *names)]
    rank = _agreed([place for place in ranks if place.shard.n > 1] or ranks)  # a step of one task can start others
    places = [place for place in (array, rank) if place]
    if not places:
        raise UnknownShard(
            "--shard auto finds no shard in the environment",
            f"run it in a SLURM array, a Kubernetes indexed job with {COUNT}, or under srun or mpirun; {BY_HAND}",
        )
    index, count = 0, 1
    for place in places:
        index, count = index * place.shard.n + place.shard.i, count * place.shard.n
    return Shard(index, count), " and ".join(place.variable for place in places)


def _agreed(places: list[_Place]) -> _Place | None:
    if len({place.shard for place in places}) > 1:
        raise UnknownShard(f"--shard auto finds several shards: {', '.join(map(str, places))}", BY_HAND)
    return places[0] if places else None


def _slurm_array(environment: Mapping[str, str]) -> Iterator[_Place]:
    """Yield the shard of a SLURM array, whose numbers may begin anywhere, with any step, but without gaps."""
    if SLURM_ARRAY + "ID" not in environment:
        return
    number, count, first, last, step = (
        _number(environment, SLURM_ARRAY + word) for word in ("ID", "COUNT", "MIN", "MAX", "STEP")
    )
    if step < 1 or last - first != step * (count - 1) or (number - first) % step:
        raise UnknownShard(
            f"the numbers of the SLURM array have gaps: {count} from {first} to {last}, so that number {number} tells "
            "no shard",
            "submit the whole array again, with --skip-done for the parts that exist",
            BY_HAND,
        )
    yield _place((number - first) // step, count, SLURM_ARRAY + "ID")


def _indexed_job(environment: Mapping[str, str]) -> Iterator[_Place]:
    if KUBERNETES_INDEX in environment:
        if COUNT not in environment:
            raise UnknownShard(
                f"{KUBERNETES_INDEX} tells the index of this pod, but Kubernetes tells it no number of pods",
                f'set {COUNT} to the job\'s `completions` in its manifest: `env: [{{name: {COUNT}, value: "16"}}]`',
            )
        yield _place(_number(environment, KUBERNETES_INDEX), _number(environment, COUNT), KUBERNETES_INDEX)


def _ranks(environment: Mapping[str, str], rank: str, size: str) -> Iterator[_Place]:
    if rank in environment and size in environment:  # a batch script of SLURM has the first alone
        yield _place(_number(environment, rank), _number(environment, size), rank)


def _place(index: int, count: int, variable: str) -> _Place:
    if not 0 <= index < count:
        raise UnknownShard(f"{variable} tells the shard {index} of {count}, but they are counted from 0", BY_HAND)
    return _Place(Shard(index, count), variable)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise UnknownShard(f"{name} is {text!r}, not a number" if text else f"{name} is not set", BY_HAND)
    return int(text)


def output_path(template: str, shard: Shard | None, *, auto: bool = False) -> str:
    """Return the path of an output, with the shard in the place of `{shard}`. Raises WrongOutputName."""
    if shard is None and SHARD not in template:
        return template
    texts = _texts(template)
    if len(texts) == 1:
        if auto and is_on_disk(texts[0]):
            stem, suffix = os.path.splitext(template)
            raise WrongOutputName(
                f"all shards would write {texts[0]}", f"give each a name of its own: -o '{stem}/{SHARD}{suffix}'"
            )
        return texts[0]
    if shard is None:
        raise WrongOutputName(f"{template} has a place for a shard, but there is none", f"add --shard auto, {BY_HAND}")
    return shard.name.join(texts)


def _texts(template: str) -> list[str]:
    """Return the texts in front of, between and behind each `{shard}`."""
    texts = [""]
    for at, piece in enumerate(re.split(r"(\{\{|\}\}|\{[^{}]*\}|[{}])", template)):
        if piece == SHARD:
            texts.append("")
        elif at % 2 and piece not in ("{{", "}}"):
            raise WrongOutputName(
                f"{piece} in {template} stands for nothing",
                f"names have {SHARD}; double the braces of a file's own name",
            )
        else:
            texts[-1] += piece[0] if at % 2 else piece
    return texts


def make_folder(template: str, shard: Shard, *, force: bool) -> None:
    """Make the folder of an output with `{shard}` in its name. Raises CannotWrite, and OtherPart, unless with `force`,
    if it has parts of another number of shards."""
    texts = _texts(template)
    if len(texts) == 1:
        return
    path = shard.name.join(texts)
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {reason(error)}") from None
    pattern = re.compile(r"\d+-of-(\d+)".join(re.escape(os.path.normcase(text)) for text in texts))
    matches = map(pattern.fullmatch, map(os.path.normcase, sorted(glob.glob("*-of-*".join(map(glob.escape, texts))))))
    others = [match[0] for match in matches if match and int(match[1]) != shard.n]
    if others and not force:
        raise OtherPart(
            f"this is shard {shard}, but {others[0]} is a part of another number of shards",
            "use the same number, choose another folder, or mix them with --force",
        )
