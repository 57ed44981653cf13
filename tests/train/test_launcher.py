"""Which processes train together: what launchers say, what MPI finds, and the cores of each."""

from __future__ import annotations

import os
import platform
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from netdsl.base.user_error import WrongArgumentType, WrongArgumentValue
from netdsl.data.errors import MissingPackage
from netdsl.train import launcher
from netdsl.train.checkpoint import Checkpoint, Position, shared_checkpoint
from netdsl.train.launcher import NoMpi, WrongLauncher, launched, ranks_of, world
from netdsl.train.ranks import ALONE, Ranks, cores_per_rank
from tests.support.thread_ranks import on_ranks


@pytest.mark.parametrize(
    ("environment", "size"),
    [
        ({}, 1),
        ({"SLURM_NTASKS": "8", "SLURM_JOB_ID": "3"}, 1),  # a batch script, or `salloc`
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"}, 1),
        ({"SLURM_STEP_NUM_TASKS": "8"}, 8),
        ({"PMI_SIZE": "4", "PMI_RANK": "0"}, 4),
        ({"PMI_SIZE": "4", "SLURM_STEP_NUM_TASKS": "1"}, 4),  # `mpiexec` within a step
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "1"}, 2),
        ({"PMIX_RANK": "0"}, None),
        ({"PMI_SIZE": "many"}, 1),
    ],
)
def test_launchers_say_how_many_processes_they_started(environment: dict[str, str], size: int | None) -> None:
    assert launched(environment) == size


class World:
    """What mpi4py has, for a world of `size` processes."""

    def __init__(self, size: int, name: str = "MPICH Version:      5.0.2") -> None:
        self.name = name
        self.COMM_WORLD = SimpleNamespace(size=size, Get_size=lambda: size, Get_rank=lambda: 0)

    def Get_library_version(self) -> str:  # noqa: N802
        return f"{self.name}\nMPICH Release date: none\n\0"

    def Is_initialized(self) -> bool:  # noqa: N802
        return False

    def Init_thread(self) -> None:  # noqa: N802
        self.started = True


@pytest.mark.parametrize(
    ("environment", "seen"),
    [({"PMI_SIZE": "2"}, 1), ({"PMI_SIZE": "4"}, 2), ({"SLURM_STEP_NUM_TASKS": "3"}, 1)],
)
def test_processes_that_do_not_find_each_other(
    environment: dict[str, str], seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "_library", lambda: World(seen))
    said = next(iter(environment.values()))
    with pytest.raises(WrongLauncher) as caught:
        world(environment=environment)
    assert caught.value.message == f"a launcher has started {said} processes, but MPI finds {seen}"
    assert "MPICH 5.0.2," in caught.value.helps[0]
    assert any("srun needs --mpi=pmi2" in text for text in caught.value.helps) == (
        "SLURM_STEP_NUM_TASKS" in environment
    )


def test_open_mpi_does_not_launch_mpich(monkeypatch: pytest.MonkeyPatch) -> None:
    found = World(2)
    monkeypatch.setattr(launcher, "_library", lambda: found)
    with pytest.raises(WrongLauncher) as caught:
        world(environment={"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"})
    said = "the launcher of Open MPI has started 2 processes, but mpi4py has loaded MPICH 5.0.2"
    assert (caught.value.message, vars(found).get("started")) == (said, None)  # which would end the process
    monkeypatch.setattr(launcher, "_library", lambda: World(1, "Open MPI v5.0.11, package: …"))
    with pytest.raises(WrongLauncher) as caught:
        world(environment={"OMPI_COMM_WORLD_SIZE": "2"})
    assert "use the launcher of Open MPI v5.0.11, which" in caught.value.helps[0]


def test_a_child_of_a_process_that_was_launched_does_not_join_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_library", lambda: World(2))
    monkeypatch.setattr(launcher, "_ranks", lambda comm: comm.size)
    reading, writing = os.pipe()
    environment = {"PMI_SIZE": "2", "PMI_FD": str(reading)}
    assert world(environment=environment) == 2
    os.close(reading)
    os.close(writing)
    with pytest.raises(WrongLauncher, match="2 processes, but not this one, which one of them has started"):
        world(environment=environment)
    assert world("off", environment) is ALONE


def test_the_second_process_of_a_launcher_that_tells_no_size_is_not_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_library", lambda: World(1))
    assert world(environment={"PMIX_RANK": "0"}) is ALONE
    with pytest.raises(WrongLauncher, match="a launcher has started several processes, but MPI finds 1"):
        world(environment={"PMIX_RANK": "1"})


def test_mpi_is_loaded_only_if_there_is_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_library", None)
    assert world(environment={}) is world("off", {"PMI_SIZE": "2"}) is ALONE
    monkeypatch.setattr(launcher, "_library", lambda: World(1))
    assert world("mpi", {}) is ALONE


def test_a_missing_package_and_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(MissingPackage) as missing:
        world(environment={"PMI_SIZE": "2"})
    assert missing.value.helps[0] == "pip install 'netdsl[mpi]'"

    class Broken:
        __path__: tuple[str, ...] = ()

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("cannot load MPI library\nlibmpi.so: no such file")

    monkeypatch.setitem(sys.modules, "mpi4py", Broken())
    with pytest.raises(NoMpi, match="mpi4py does not find an MPI library: cannot load MPI library\n"):
        world(environment={"PMI_SIZE": "2"})


@pytest.mark.parametrize("comm", [3, "MPI.COMM_WORLD", SimpleNamespace(Get_rank=lambda: 0)])
def test_only_communicators_have_ranks(comm: object) -> None:
    with pytest.raises(WrongArgumentType, match=f"such as MPI.COMM_WORLD, not an object of type {type(comm).__name__}"):
        ranks_of(comm)


def test_communicators_that_do_not_join_processes_are_refused() -> None:
    class Null(SimpleNamespace):
        def __bool__(self) -> bool:
            return False

    calls = vars(World(2).COMM_WORLD)
    with pytest.raises(WrongArgumentValue, match=r"comm is MPI\.COMM_NULL"):
        ranks_of(Null(**calls))
    with pytest.raises(WrongArgumentValue, match="connects two groups"):
        ranks_of(SimpleNamespace(**calls, is_inter=True))


def test_no_communicator_and_one_of_a_single_process_are_alone() -> None:
    assert ranks_of(None) is ranks_of(World(1).COMM_WORLD) is ALONE


@pytest.mark.parametrize(
    ("places", "cores"),
    [
        ([("a", {0, 1, 2, 3})], 4),
        ([("a", {0, 1, 2, 3})] * 2, 2),
        ([("a", {0, 1, 2, 3})] * 3, 1),
        ([("a", {0, 1})] * 4, 1),
        ([("a", {0, 1}), ("a", {2, 3})], 2),  # bound to cores of their own
        ([("a", {0, 1, 2, 3}), ("b", {0, 1, 2, 3})], 4),
        ([("a", {*range(16)}), ("b", {*range(6)}), ("b", {*range(6)})], 3),  # all wait for the slowest
    ],
)
def test_ranks_share_the_cores_of_a_machine(places: list[tuple[str, set[int]]], cores: int) -> None:
    class Placed(Ranks):
        def _gather(self, value: Any) -> list[Any]:
            assert value == (platform.node(), os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else value[1])
            return places

    assert cores_per_rank(Placed(0, len(places))) == cores


def test_all_ranks_resume_from_the_checkpoint_of_rank_0() -> None:
    state = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(7), "empty": np.empty((0, 2), np.float16)}
    state["w"].flags.writeable = False

    def work(group: Ranks) -> Checkpoint | None:
        assert shared_checkpoint(None, group) is None
        own = Checkpoint(state, Position(1, 2, 3), {"threads": 4}) if group.leads else None
        return shared_checkpoint(own, group)

    for found in on_ranks(3, work):
        assert found is not None
        assert (repr(found.position), found.about) == ("<epoch 1, batch 2, step 3>", {"threads": 4})
        assert found.state.keys() == state.keys()
        for name, array in state.items():
            assert found.state[name].dtype == array.dtype
            np.testing.assert_array_equal(found.state[name], array)
