"""Cells whose units meet in one product with the recurrent weights: tanh, rectified and leaky units."""

import math
from abc import abstractmethod
from typing import ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from degeneracy.networks.cell import Cell, Kernel, Params


class PointwiseCell(Cell):
    """Cells whose units meet in one product, W_rec hidden(state); all else each unit does by itself."""

    def step(self, params: Params, state: Tensor, drive: Tensor) -> Tensor:
        """The next state."""
        return self.update(params, state, drive, self.product(params, state))

    def product(self, params: Params, state: Tensor) -> Tensor:
        """What the recurrent weights make of a state, (member, trial, G * N)."""
        return torch.matmul(self.hidden(state), params["W_rec"].mT)

    @abstractmethod
    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:
        """The next state, given what the recurrent weights make of the present one, (member, trial, G * N)."""


class TanhCell(PointwiseCell):
    """h_t = tanh(W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "tanh"
    summary: ClassVar[str] = "vanilla RNN: h_t = tanh(W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Elman (1990); the cell of Huang et al. (2025), arXiv 2410.03972"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    maximal_update: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        """That of one gate with tanh."""
        return Kernel(name="tanh")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        return torch.tanh(drive + recurrent)


class ReluCell(PointwiseCell):
    """h_t = max(0, W_rec h_{t-1} + W_in x_t + b)."""

    name: ClassVar[str] = "relu"
    summary: ClassVar[str] = "vanilla RNN with rectified units: h_t = max(0, W_rec h_{t-1} + W_in x_t + b)"
    source: ClassVar[str] = "Le, Jaitly & Hinton (2015), arXiv 1504.00941 (here with the common initialisation)"
    symmetry: ClassVar[str] = "scaled_permutation"
    state_range: ClassVar[tuple[float, float]] = (0.0, math.inf)
    signals: ClassVar[bool] = True

    @property
    def kernel(self) -> Kernel:
        """That of one gate with rectified units."""
        return Kernel(name="relu")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        return torch.relu(drive + recurrent)


class LeakyTanhCell(PointwiseCell):
    """Leaky units with alpha = dt / tau, in two forms.

    rate:    h_t = (1 - alpha) h_{t-1} + alpha tanh(W_rec h_{t-1} + W_in x_t + b), readout of h
    current: h_t = (1 - alpha) h_{t-1} + alpha (W_rec tanh(h_{t-1}) + W_in x_t + b), readout of tanh(h)
    """

    name: ClassVar[str] = "leaky_tanh"
    summary: ClassVar[str] = "leaky tanh units with time constant tau (rate or current form)"
    source: ClassVar[str] = "Song, Yang & Wang (2016), PLoS Comput Biol 12:e1004792, eqs. 1-5"
    symmetry: ClassVar[str] = "signed_permutation"
    state_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    signals: ClassVar[bool] = True
    maximal_update: ClassVar[bool] = True

    dt_ms: float = pydantic.Field(20.0, gt=0, description="time step, ms")
    tau_ms: float = pydantic.Field(100.0, gt=0, description="time constant of the units, ms")
    form: Literal["rate", "current"] = "rate"

    @pydantic.model_validator(mode="after")
    def _step_within_tau(self) -> "LeakyTanhCell":
        if self.dt_ms > self.tau_ms:
            raise ValueError(f"dt_ms = {self.dt_ms:g} must not exceed tau_ms = {self.tau_ms:g}")
        return self

    @property
    def alpha(self) -> float:
        """The leak, dt / tau, in (0, 1]."""
        return self.dt_ms / self.tau_ms

    @property
    def noise_gain(self) -> float:
        """sqrt(2 / alpha), so that the noise's effect on h does not depend on the time step."""
        return (2 / self.alpha) ** 0.5

    @property
    def kernel(self) -> Kernel:
        """That of one gate with tanh, with this leak and form."""
        return Kernel(name="tanh", leak=self.alpha, current=self.form == "current")

    def update(self, params: Params, state: Tensor, drive: Tensor, recurrent: Tensor) -> Tensor:  # noqa: ARG002
        """The next state."""
        return (1 - self.alpha) * state + self.alpha * self.target(drive, recurrent)

    def target(self, drive: Tensor, recurrent: Tensor) -> Tensor:
        """What the state leaks towards."""
        return torch.tanh(drive + recurrent) if self.form == "rate" else drive + recurrent

    def hidden(self, state: Tensor) -> Tensor:
        """The rates: h itself in the rate form, tanh(h) in the current form."""
        return state if self.form == "rate" else torch.tanh(state)
