"""Ambient state: what the caller has set in torch and numpy, kept from what is computed here.

A notebook may run under `torch.autocast`, in inference mode, with another default dtype or device, or with numpy
raising on a division by zero. Training and measuring give the same bits in all of these. Ground floor: any room may
import it.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch

DEVICE_TYPES = ("cpu", "cuda", "mps", "xpu")  # those that torch knows an autocast of
EXACT = ("none", "ieee")  # precisions of float32 products that are those of float32


@contextmanager
def ordinary_state() -> Iterator[None]:
    """Meanwhile torch and numpy are as a fresh process has them; afterwards as the caller had them.

    Decorates the public verbs: `@ordinary_state()`. It must not decorate a generator, whose caller would find it
    between two values. What is set for the whole process (the default dtype, deterministic algorithms, anomaly
    detection, the precision of products) is touched only where the caller changed it.
    """
    with ExitStack() as stack:
        stack.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in DEVICE_TYPES:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_anomaly_enabled():
            stack.enter_context(torch.autograd.set_detect_anomaly(False))
        _whole_process(stack)
        yield


def _whole_process(stack: ExitStack) -> None:
    """Set what torch has once for all threads, and have the stack put it back."""
    dtype = torch.get_default_dtype()
    if dtype != torch.float32:
        stack.callback(torch.set_default_dtype, dtype)
        torch.set_default_dtype(torch.float32)
    if torch.are_deterministic_algorithms_enabled():
        warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
        stack.callback(torch.use_deterministic_algorithms, True, warn_only=warn_only)
        torch.use_deterministic_algorithms(False)
    # Products in TF32 or bfloat16 keep 3 of 7 digits.
    backends: Any = torch.backends
    for holder in (backends.cuda.matmul, backends.mkldnn.matmul, backends):
        precision = holder.fp32_precision
        if precision not in EXACT:
            stack.callback(setattr, holder, "fp32_precision", precision)
            holder.fp32_precision = "ieee"
    # Some libraries make the processor round subnormal numbers to 0. Torch cannot be asked whether it does.
    if float(torch.full((1,), 1e-38, dtype=torch.float32) * 1e-2) == 0 and torch.set_flush_denormal(False):
        stack.callback(torch.set_flush_denormal, True)
