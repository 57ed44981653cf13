"""Find the processes that a launcher, such as mpirun, has started to train a net together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

from netdsl.base.user_error import USAGE_IS_WRONG, UserError, WrongArgumentType, WrongArgumentValue
from netdsl.data.errors import MissingPackage
from netdsl.train.ranks import ALONE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from netdsl.train.ranks import Ranks

SIZES = "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"
"""Environment variables with the number of processes that a launcher has started: of MPICH and Intel MPI, of Open MPI,
and of Slurm's `srun`. `SLURM_NTASKS` is also set where no launcher is at work."""

PMIX_RANK = "PMIX_RANK"
"""The variable of launchers that do not tell the number of processes before MPI starts."""

PMI_FD = "PMI_FD"
"""The variable with the descriptor by which a process talks to MPICH's launcher. Its own child processes inherit the
variable, but rarely the descriptor, without which MPI would end them."""

STRANGERS = "MPICH", "Intel"
"""Names of MPIs that end the process if the launcher of Open MPI has started it."""

ALONE_EACH = "--distributed off trains in each process for itself"
"""The help for processes that do not find each other."""


class WrongLauncher(UserError, code="E0896", title="a launcher of another MPI", exit_code=USAGE_IS_WRONG):
    """A launcher has started several processes, but they do not find each other, because they use another MPI than it,
    so that each would do the whole training; or one of them has run this command, and the launcher does not know it.

    ```sh
    mpirun --version
    srun --mpi=pmi2 -n 4 netdsl train net.net
    python -c "from mpi4py import MPI; print(MPI.Get_library_version())"
    netdsl train net.net --distributed off
    ```
    """


class NoMpi(UserError, code="E0897", title="a missing MPI library", exit_code=USAGE_IS_WRONG):
    """Training in several processes requires an MPI library, which mpi4py has not found: that of a cluster, often
    loaded by `module load`, or one from the package index.

    ```sh
    module load mpi
    pip install mpich
    ```
    """


def world(distributed: str = "auto", environment: Mapping[str, str] = os.environ) -> Ranks:
    """Return the processes that a launcher has started; one if there is none, or if `distributed` is `off` rather than
    `auto` or `mpi`. Raises MissingPackage, NoMpi and WrongLauncher."""
    said = launched(environment)
    if distributed == "off" or (distributed == "auto" and said == 1):
        return ALONE
    if PMI_FD in environment and not _is_open(environment[PMI_FD]):
        raise WrongLauncher(
            f"a launcher has started {said} processes, but not this one, which one of them has started",
            "let the launcher start netdsl, or call netdsl.fit with `comm` in its processes",
            ALONE_EACH,
        )
    mpi = _library()
    if SIZES[1] in environment and _version(mpi).startswith(STRANGERS):
        raise WrongLauncher(
            f"the launcher of Open MPI has started {said} processes, but mpi4py has loaded {_version(mpi)}",
            f"use the launcher of {_version(mpi)}",
            ALONE_EACH,
        )
    if not mpi.Is_initialized():
        mpi.Init_thread()
    seen = mpi.COMM_WORLD.size
    if seen != (said or seen) or (seen == 1 and environment.get(PMIX_RANK, "0") != "0"):
        slurm = ["srun needs --mpi=pmi2 for MPICH and Intel MPI, and --mpi=pmix for Open MPI"]
        raise WrongLauncher(
            f"a launcher has started {said or 'several'} processes, but MPI finds {seen}",
            f"use the launcher of {_version(mpi)}, which mpi4py has loaded",
            *(slurm if SIZES[-1] in environment else ()),
            ALONE_EACH,
        )
    return _ranks(mpi.COMM_WORLD)


def _is_open(descriptor: str) -> bool:
    try:
        os.fstat(int(descriptor))
    except (OSError, ValueError):
        return False
    return True


def launched(environment: Mapping[str, str]) -> int | None:
    """Return how many processes a launcher has started together with this one, by the environment: 1 without a
    launcher, and None if it does not say."""
    for name in SIZES:
        if environment.get(name, "").isdecimal():
            return int(environment[name])
    return None if PMIX_RANK in environment else 1


def _library() -> ModuleType:
    """Return mpi4py's MPI, which is not initialized unless a program has done it before."""
    try:
        with catch_warnings():
            simplefilter("ignore")  # about the environment, which are reported as WrongLauncher
            import mpi4py

            mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
            from mpi4py import MPI
    except ModuleNotFoundError as error:
        if error.name != "mpi4py":
            raise
        raise MissingPackage(
            "a launcher has started several processes, and training in them requires mpi4py",
            "pip install 'netdsl[mpi]'",
            ALONE_EACH,
        ) from None
    except (ImportError, RuntimeError) as error:
        first = str(error).partition("\n")[0]
        raise NoMpi(
            f"mpi4py does not find an MPI library: {first}",
            "load the module of the cluster's MPI, or pip install mpich",
            ALONE_EACH,
        ) from None
    return MPI


def _version(mpi: ModuleType) -> str:
    text: str = mpi.Get_library_version()
    return " ".join(text.replace("\0", "").split("\n")[0].replace("Version:", "").split()).partition(",")[0]


def ranks_of(comm: object) -> Ranks:
    """Return the ranks of a communicator of mpi4py. Raises WrongArgumentType for anything else."""
    if comm is None:
        return ALONE
    if not (hasattr(comm, "Get_rank") and hasattr(comm, "Get_size")):
        kind = type(comm).__name__
        raise WrongArgumentType(
            f"comm is a communicator of mpi4py, such as MPI.COMM_WORLD, not an object of type {kind}"
        )
    if not comm:  # as `Split` returns to processes without a group, and as `Free` leaves
        raise WrongArgumentValue("comm is MPI.COMM_NULL, a communicator without processes")
    if getattr(comm, "is_inter", False):
        raise WrongArgumentValue("comm connects two groups of processes; use the communicator of one group")
    return _ranks(comm)


def _ranks(comm: Any) -> Ranks:
    if comm.Get_size() == 1:
        return ALONE
    from netdsl.train.mpi import MpiRanks

    return MpiRanks(comm)
