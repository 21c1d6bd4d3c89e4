"""The processes that train together: who this one is, what it takes of a batch, and how their gradients become one.

The batch is the project's and is divided, so that how many processes there are does not change what is learned: each
computes its rows' part of the batch's weighted mean, and the gradients are added up. DistributedDataParallel would not
do: it takes the mean of the processes, as if each had as many rows and weights, and wants every process to call it
equally often, which parts of a batch by tokens, and parts halved where memory is short, do not.

Whoever starts the processes sets RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT and, where a machine has several,
LOCAL_RANK and LOCAL_WORLD_SIZE, as torchrun does.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from lakewright.errors import UsageError, WorkerDied

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

T = TypeVar("T")
BUCKET = 8 << 20  # bytes of gradients that are sent at once: the next are put together meanwhile
PATIENCE = timedelta(minutes=30)  # for the others, in what all do at the same time
GOLDEN = 0x9E3779B1  # odd, and far from small multiples of itself modulo 2³²: the seeds of no two processes meet


@dataclass(frozen=True)
class Group:
    """By default a process alone, for which every method is free."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among the processes of this machine
    local_size: int = 1
    store: Any = field(default=None, repr=False, compare=False)

    @property
    def first(self) -> bool:
        """Whether it is this process that reads and writes checkpoints, logs, and leaves the model."""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether it is this process that writes what all of its machine read."""
        return self.local_rank == 0

    @property
    def machine(self) -> int:
        return self.rank // self.local_size

    def threads(self, of_machine: int) -> int:
        return max(1, of_machine // self.local_size)

    def seed(self, of_step: int) -> int:
        """Of this process's random draws, such as dropout; the first's are those of a process alone."""
        return of_step + self.rank * GOLDEN

    def shares(self, rows: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Each process's rows: as many as the others', to within one, and of like lengths (dealt there and back)."""
        if self.size == 1:
            return [rows]
        order = rows[np.argsort(-lengths[rows], kind="stable")]
        place = np.arange(len(order)) % (2 * self.size)
        taker = np.minimum(place, 2 * self.size - 1 - place)
        return [order[taker == rank] for rank in range(self.size)]

    def add_gradients(self, parameters: Iterable[torch.nn.Parameter], loss: float) -> float:
        """Leaves the sum of all processes' gradients in each of them, and returns the sum of their losses. A process
        without a row of its own brings zeros. All have the same bits afterwards."""
        if self.size == 1:
            return loss
        import torch

        trained = [parameter for parameter in parameters if parameter.requires_grad]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        with _others():
            losses = torch.tensor([loss], dtype=torch.float64)
            waiting = [([losses], losses, torch.distributed.all_reduce(losses, async_op=True))]
            for bucket in _buckets([parameter.grad for parameter in trained]):
                flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
                waiting.append((bucket, flat, torch.distributed.all_reduce(flat, async_op=True)))
            for bucket, flat, sending in waiting:
                sending.wait()
                for gradient, part in zip(bucket, flat.split([each.numel() for each in bucket]), strict=True):
                    gradient.copy_(part.view_as(gradient))
        return float(losses)

    def whole(self, own: torch.Tensor, shares: Sequence[NDArray[np.int64]]) -> torch.Tensor:
        """What all processes computed of their shares, none of which is empty, one share after the other. Gradients
        flow to this process's own: a loss of all of it, which every process computes, has the gradients of one process
        where they are added up."""
        if len(shares) == 1:
            return own
        import torch

        longest = max(map(len, shares))
        padded = own.new_zeros((longest, *own.shape[1:]))
        padded[: len(own)] = own.detach()
        gathered = [torch.empty_like(padded) for _ in shares]
        with _others():
            torch.distributed.all_gather(gathered, padded)
        parts = [values[: len(share)] for values, share in zip(gathered, shares, strict=True)]
        parts[self.rank] = own
        return torch.cat(parts)

    def same(self, tensors: Iterable[torch.Tensor]) -> None:
        """Leaves the first process's values in the tensors of all."""
        if self.size == 1:
            return
        import torch

        with _others():
            for tensor in tensors:
                torch.distributed.broadcast(tensor.data, src=0)

    def from_first(self, compute: Callable[[], T]) -> T:
        """What the first process computes, for all of them."""
        if self.size == 1:
            return compute()
        import torch

        held = [compute() if self.first else None]
        with _others():
            torch.distributed.broadcast_object_list(held, src=0)
        return held[0]  # type: ignore[return-value]

    def to_first(self, value: T) -> list[T]:
        """Every process's value, in their order, for the first one; for others nothing."""
        if self.size == 1:
            return [value]
        import torch

        held: list[Any] | None = [None] * self.size if self.first else None
        with _others():
            torch.distributed.gather_object(value, held)
        return held or []

    def meet(self) -> None:
        """Waits for all the others, however long one of them works alone."""
        if self.size == 1:
            return
        with _others():
            arrived = self.store.add("meet", 1)
            all_there = -(-arrived // self.size) * self.size
            while self.store.add("meet", 0) < all_there:
                time.sleep(0.02)


ALONE = Group()


@contextmanager
def _others() -> Iterator[None]:
    """torch's errors in what all processes do together are about one that is gone."""
    try:
        yield
    except RuntimeError as failure:
        raise WorkerDied(
            f"another process of this training ended, or cannot be reached: {' '.join(str(failure).split())[:300]}",
            "read that process's log for its error; run again, and training goes on from its last checkpoint",
        ) from failure


def _buckets(gradients: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    held: list[torch.Tensor] = []
    size = 0
    for gradient in gradients:
        held.append(gradient)
        size += gradient.numel() * gradient.element_size()
        if size >= BUCKET:
            yield held
            held, size = [], 0
    if held:
        yield held


def started() -> tuple[int, int]:
    """This process's rank and how many there are, where torchrun or a platform has started several; else 0 and 1."""
    size = _number("WORLD_SIZE", os.environ.get("WORLD_SIZE", "1"))
    return (_number("RANK", os.environ.get("RANK", "0")), size) if size > 1 else (0, 1)


def attempt() -> int:
    """How often the processes were started anew."""
    return _number("TORCHELASTIC_RESTART_COUNT", os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def _number(variable: str, text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"the environment variable {variable} is {text!r}, and not a number", "unset it")
    return int(text)


def refuse_several(what: str) -> None:
    """Raises UsageError where several processes were started to do what one does."""
    _, size = started()
    if size > 1:
        raise UsageError(
            f"{size} processes were started (WORLD_SIZE) for {what}, and one does it",
            "start several for `lakewright stage train` alone",
        )


@contextmanager
def joined(device: str) -> Iterator[tuple[Group, str]]:
    """The group that torchrun, a platform or Spark began, and this process's device; else a process alone.

    Raises UsageError where this process has no GPU of its own, WorkerDied where the others do not come.
    """
    rank, size = started()
    if size == 1:
        yield ALONE, device
        return
    import torch
    import torch.distributed as dist

    local_rank = _number("LOCAL_RANK", os.environ.get("LOCAL_RANK", "0"))
    with _others():
        try:
            store, rank, size = next(dist.rendezvous("env://", timeout=PATIENCE))
        except ValueError as failure:  # MASTER_ADDR and the like
            raise UsageError(f"WORLD_SIZE is {size}, but {failure}", "start the processes by torchrun") from None
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            # torch 2.13: after a restart the agent's store still has the addresses of those that died. Agents of
            # several machines may count restarts differently: there, let each restart have a store of its own
            # (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1).
            store = dist.PrefixStore(f"attempt/{attempt()}", store)
        local_size = _local_size(store, rank, size, local_rank)
        device = own_device(device, local_rank, local_size)
        if device != "cpu":
            torch.cuda.set_device(device)
        backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    try:
        yield Group(rank, size, local_rank, local_size, dist.PrefixStore("lakewright", store)), device
    finally:
        dist.destroy_process_group()


def _local_size(store: Any, rank: int, size: int, local_rank: int) -> int:
    """How many processes this machine has. Azure ML does not say (LOCAL_WORLD_SIZE), so that each tells the others its
    place on its machine: ranks go machine by machine."""
    known = os.environ.get("LOCAL_WORLD_SIZE")
    if known is not None:
        return _number("LOCAL_WORLD_SIZE", known)
    store.set(f"local_rank/{rank}", str(local_rank))
    firsts = [each - int(store.get(f"local_rank/{each}")) for each in range(size)]
    return firsts.count(rank - local_rank)


def own_device(device: str, local_rank: int, local_size: int) -> str:
    """One process a GPU. Raises UsageError where there are fewer, or the profile names one."""
    if device == "cpu":
        return device
    import torch

    if ":" in device:
        raise UsageError(
            f"the profile names one device, {device}, for {local_size} processes of this machine",
            "write device: cuda, of which each process takes its own",
        )
    if torch.cuda.device_count() < local_size:
        raise UsageError(
            f"{local_size} processes of this machine train, and torch finds {torch.cuda.device_count()} GPUs",
            "start as many processes as there are GPUs (training: {processes: …}), or set device: cpu",
        )
    return f"cuda:{local_rank}"
