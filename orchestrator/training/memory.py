"""When memory runs out: telling it from other failures, and giving back what is held before the error goes on."""

from __future__ import annotations

import errno
import gc
from collections.abc import Generator
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

# Of CUDA's and its libraries' errors, and of the allocator on a CPU, in lower case; torch has a class of its own for
# the caching allocator's alone.
_WORDS = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed", "allocation_failed")


class OutOfMemory(MemoryError):
    """A training found no memory left, on its device or on the machine. Nothing of it is held any more.

    It can be tried again with smaller pieces: `Job.micro_batches`.
    """


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device or the machine has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def released(work: Generator[Item, None, Result]) -> Generator[Item, None, Result]:
    """What `work` yields and returns; its memory is free before its lack is told.

    An error holds its traceback, that the frames, and these the tensors. So the error itself is not passed on.

    Raises:
        OutOfMemory: instead of any error of that kind, with the first line of its message.
    """
    try:
        return (yield from work)
    except Exception as error:
        if not out_of_memory(error):
            raise
        message = str(error).partition("\n")[0] or type(error).__name__
    del work
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    raise OutOfMemory(message)
