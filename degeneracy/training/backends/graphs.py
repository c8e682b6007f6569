"""CUDA graphs: an update is recorded once and replayed, so that its hundreds of small kernels are launched as one."""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from degeneracy.core.streams import Streams

log = logging.getLogger("degeneracy")

Results = tuple[Tensor, ...]
WARM_UP = 3  # calls before the recording, in which libraries allocate what they keep


class Replayed:
    """A function without arguments whose calls are replays of one recording.

    All that moves from call to call must live in tensors that are changed in place and in the random streams. The
    first calls run as they are, on the stream that then records. A function that cannot be recorded, such as one
    that waits for the device, goes on running as it is, and that is said once.
    """

    def __init__(self, function: Callable[[], Results], streams: Sequence[Streams]) -> None:
        self._function, self._streams = function, streams
        self._stream = torch.cuda.Stream()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._results: Results = ()
        self._calls = 0
        self._recordable = True

    def __call__(self) -> Results:
        """One call; what it returns is a copy that later calls leave alone."""
        self._calls += 1
        if self._graph is None and self._recordable and self._calls > WARM_UP:
            self._record()
        if self._graph is None:
            return self._run()
        self._graph.replay()
        return tuple(result.clone() for result in self._results)

    def _run(self) -> Results:
        """Call the function on the recording stream, in order with the caller's."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            results = self._function()
        here.wait_stream(self._stream)
        return results

    def _record(self) -> None:
        """Record the function; nothing of it is executed."""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        before = [streams.states() for streams in self._streams]
        for streams in self._streams:
            for generator in streams.generators:
                graph.register_generator_state(generator)
        try:
            with _no_garbage_collection(), torch.cuda.graph(graph, stream=self._stream):
                self._results = self._function()
        except RuntimeError as error:
            self._recordable = False
            # A generator whose recording was broken off refuses to draw (torch 2.11): others go on in its place.
            for streams, states in zip(self._streams, before, strict=True):
                streams.restore(states)
            reason = str(error).strip().splitlines()[0]
            log.warning("training runs without a CUDA graph, more slowly: %s", reason)
            return
        self._graph = graph


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Destroying an earlier recording, as the garbage collector may at any moment, would break off this one."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
