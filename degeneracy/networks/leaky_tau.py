"""Leaky units whose time constants are trained with the weights."""

from collections.abc import Mapping
from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from degeneracy.networks.cell import Kernel, Parameter, Params
from degeneracy.networks.pointwise import LeakyTanhCell


class LeakyTauCell(LeakyTanhCell):
    """Leaky units as of leaky_tanh, each with a time constant of its own that is trained with the weights.

    The leak of unit i is dt / tau_i, tau_i = dt + (tau_ms - dt) exp(log_tau_i): never below dt, whatever `log_tau`,
    which is what is trained. It starts at 0, where the cell is leaky_tanh. The leak is a sigmoid of -log_tau, shifted.
    """

    name: ClassVar[str] = "leaky_tau"
    summary: ClassVar[str] = "leaky tanh units, each with a time constant that is trained (rate or current form)"
    source: ClassVar[str] = (
        "Perez-Nieves et al. (2021), Nat Commun 12:5791, a time constant per unit; trained as a sigmoid's argument: "
        "Fang et al. (2021), ICCV, arXiv 2007.05785"
    )

    tau_ms: float = pydantic.Field(100.0, gt=0, description="time constant at which all units start, ms")

    @pydantic.model_validator(mode="after")
    def _step_below_tau(self) -> "LeakyTauCell":
        if self.dt_ms >= self.tau_ms:
            raise ValueError(f"dt_ms = {self.dt_ms:g} must be below tau_ms = {self.tau_ms:g}, or no tau can be trained")
        return self

    def parameters(self, input_size: int, hidden_size: int) -> Mapping[str, Parameter]:
        """Those of leaky_tanh, and `log_tau`."""
        log_tau = Parameter(axes=("unit",), sizes=(hidden_size,), role="unit", start=(0.0, 0.0))
        return {**super().parameters(input_size, hidden_size), "log_tau": log_tau}

    def time_constants(self, params: Params) -> Tensor:
        """The units' time constants, ms, (member, unit), float64."""
        return self.tau_ms + (self.tau_ms - self.dt_ms) * torch.expm1(
            params["log_tau"].double()
        )  # at 0 tau_ms, exactly

    def leaks(self, params: Params) -> Tensor:
        """The units' leaks, dt / tau, (member, unit), float64."""
        # Divided in float64 and then rounded once, as leaky_tanh's leak is: equal time constants give its bits.
        # (A number over a tensor would be multiplied by a rounded reciprocal.)
        taus = self.time_constants(params)
        return torch.full_like(taus, self.dt_ms) / taus

    @property
    def kernel(self) -> Kernel:
        """That of one gate with tanh, with these leaks and form."""
        return Kernel(name="tanh", current=self.form == "current", leaks=self.leaks)

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:
        """The next state."""
        leak = self.leaks(params).unsqueeze(1)
        keep, leak = (1 - leak).to(state.dtype), leak.to(state.dtype)
        return keep * state + leak * self.target(drive, recurrent)
