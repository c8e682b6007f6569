"""Optimisers of stacked members: `OPTIMISERS` is the table. No member's numbers reach another's update."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from degeneracy.core.specs import Spec
from degeneracy.training.flat_parameters import EPS, RATE, Groups, clip_norms


class OptimiserState(ABC):
    """What an optimiser keeps of the members in training."""

    groups: Groups

    @abstractmethod
    def update(self, params: Tensor, grads: Tensor, rates: Tensor) -> None:
        """One update of `params` in place.

        Args:
            params: (member, parameter).
            grads: (member, parameter), already clipped.
            rates: (member,), the learning rates.
        """

    def clipped_update(
        self, params: Tensor, grads: Tensor, rates: Tensor, clip_norm: float, norm_factors: Tensor
    ) -> Tensor:
        """Clip the gradients (see `clip_norms`) and update; the norms before, (member,)."""
        norms = clip_norms(grads, clip_norm, norm_factors)
        self.update(params, grads, rates)
        return norms

    def map_parts(self) -> dict[str, Tensor]:
        """What is trained in place of parameters that act, by name; nothing where those are trained themselves."""
        return {}

    @abstractmethod
    def select(self, members: Tensor) -> "OptimiserState":
        """The state of some members, by position."""


class Optimiser(Spec):
    """How gradients become steps. Fields are its options; the learning rate is that of the training.

    An optimiser of your own is a subclass that is named as `module:Name`. Everything of its state that moves is a
    tensor on the parameters' device that `update` changes in place, so that an update can be recorded on a GPU.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]
    copies: ClassVar[int]  # of the parameters that its state takes, for the estimate of memory
    mup: ClassVar[bool] = False  # whether the factors on its rate that make steps the same at any width are known

    @abstractmethod
    def start(self, params: Tensor, groups: Groups) -> OptimiserState:
        """The state before the first update of parameters (member, parameter)."""


class Adam(Optimiser):
    """Adam: steps of the mean gradient over the root of the mean squared gradient.

    Source: Kingma & Ba (2015), algorithm 1.
    """

    name: ClassVar[str] = "adam"
    summary: ClassVar[str] = "steps of the mean gradient over the root of its mean square"
    source: ClassVar[str] = "Kingma & Ba (2015), ICLR, algorithm 1"
    copies: ClassVar[int] = 2
    mup: ClassVar[bool] = True

    beta1: float = pydantic.Field(0.9, ge=0, lt=1, description="memory of the mean gradient")
    beta2: float = pydantic.Field(0.999, ge=0, lt=1, description="memory of the mean squared gradient")
    eps: float = pydantic.Field(1e-8, gt=0, description="added to the root of the mean squared gradient")

    def start(self, params: Tensor, groups: Groups) -> "AdamState":
        """Both means 0."""
        return AdamState(
            options=self,
            first=torch.zeros_like(params),
            second=torch.zeros_like(params),
            step=torch.zeros((), dtype=torch.float64, device=params.device),
            groups=groups,
        )

    @property
    def decay(self) -> float:
        """The share of a weight that is lost in an update of learning rate 1."""
        return 0.0


class AdamW(Adam):
    """Adam with decoupled weight decay: besides, an update takes rate times `weight_decay` off every parameter.

    Source: Loshchilov & Hutter (2019), algorithm 2; equal to torch's AdamW.
    """

    name: ClassVar[str] = "adamw"
    summary: ClassVar[str] = "Adam with decoupled weight decay"
    source: ClassVar[str] = "Loshchilov & Hutter (2019), ICLR, algorithm 2"

    weight_decay: float = pydantic.Field(0.01, ge=0, description="share of a parameter taken off, times the rate")

    @property
    def decay(self) -> float:
        """`weight_decay`."""
        return self.weight_decay


class SGD(Optimiser):
    """Stochastic gradient descent: v = momentum v + gradient + weight_decay parameter; a step is -rate v.

    Source: Sutskever, Martens, Dahl & Hinton (2013), ICML, as torch's SGD writes it.
    """

    name: ClassVar[str] = "sgd"
    summary: ClassVar[str] = "gradient descent, with momentum where wanted"
    source: ClassVar[str] = "Sutskever, Martens, Dahl & Hinton (2013), ICML"
    copies: ClassVar[int] = 1

    momentum: float = pydantic.Field(0.0, ge=0, lt=1, description="share of the last step that is kept")
    nesterov: bool = pydantic.Field(False, description="take the gradient's step from where momentum leads")
    weight_decay: float = pydantic.Field(0.0, ge=0, description="added to the gradient, times the parameter")

    def start(self, params: Tensor, groups: Groups) -> "SGDState":
        """No velocity yet."""
        return SGDState(options=self, velocity=torch.zeros_like(params), groups=groups)


OPTIMISERS: dict[str, type[Optimiser]] = {Adam.name: Adam, AdamW.name: AdamW, SGD.name: SGD}


@dataclass(kw_only=True)
class AdamState(OptimiserState):
    """Adam's means of the members in training."""

    options: Adam
    first: Tensor  # (member, parameter)
    second: Tensor  # (member, parameter)
    step: Tensor  # (), float64: updates so far; on the device, so that an update can be recorded there
    groups: Groups

    def __post_init__(self) -> None:
        self._rate, self._eps = (self.groups.factors(column, self.first) for column in (RATE, EPS))

    def update(self, params: Tensor, grads: Tensor, rates: Tensor) -> None:
        """One update; see `OptimiserState`."""
        beta1, beta2 = self.options.beta1, self.options.beta2
        self.step += 1
        self.decay(params, rates)
        self.first.lerp_(grads, 1 - beta1)
        self.second.mul_(beta2).addcmul_(grads, grads, value=1 - beta2)
        scale = (1 - beta2**self.step) ** 0.5
        spread = (self.second.sqrt() / scale).add_(self.options.eps * self._eps)
        steps = (rates / (1 - beta1**self.step)).unsqueeze(1) * self._rate
        params.sub_(self.first / spread * steps)

    def decay(self, params: Tensor, rates: Tensor) -> None:
        """Take the decoupled weight decay off `params`, in place."""
        if self.options.decay:
            params.mul_(1 - self.options.decay * rates.unsqueeze(1) * self._rate)

    def corrected(self, rate: float) -> tuple[float, float, float, float, float]:
        """What the current step multiplies by: rate / (1 - beta1^t), sqrt(1 - beta2^t), beta1, beta2, eps."""
        step, beta1, beta2 = self.step.item(), self.options.beta1, self.options.beta2
        return rate / (1 - beta1**step), (1 - beta2**step) ** 0.5, beta1, beta2, self.options.eps

    def select(self, members: Tensor) -> "AdamState":
        """The state of some members, by position."""
        return AdamState(
            options=self.options,
            first=self.first[members],
            second=self.second[members],
            step=self.step.clone(),
            groups=self.groups,
        )


@dataclass(kw_only=True)
class SGDState(OptimiserState):
    """The velocities of the members in training."""

    options: SGD
    velocity: Tensor  # (member, parameter)
    groups: Groups

    def __post_init__(self) -> None:
        self._rate = self.groups.factors(RATE, self.velocity)

    def update(self, params: Tensor, grads: Tensor, rates: Tensor) -> None:
        """One update; see `OptimiserState`."""
        grads = grads.add(params, alpha=self.options.weight_decay)
        self.velocity.mul_(self.options.momentum).add_(grads)
        step = grads.add(self.velocity, alpha=self.options.momentum) if self.options.nesterov else self.velocity
        params.sub_(step * rates.unsqueeze(1) * self._rate)

    def select(self, members: Tensor) -> "SGDState":
        """The state of some members, by position."""
        return SGDState(options=self.options, velocity=self.velocity[members], groups=self.groups)
