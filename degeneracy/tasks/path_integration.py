"""Path integration: where am I, from heading, speed and where I started."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import pydantic
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials


class PathIntegration(Task):
    """Path integration in a square (2D) or cubic (3D) box whose walls reflect.

    An agent starts anywhere in the box [-side/2, side/2]^D and at each step moves by speed * direction:

    - heading (2D) or azimuth (3D): a random walk of step sd `heading_sd` from a uniform start;
    - elevation (3D): the same, reflected at -pi/2 and pi/2; direction = (cos e cos a, cos e sin a, sin e);
    - speed: a random walk of step sd `speed_sd` reflected at 0 and `v_max`, from a uniform start; 0 while the
      agent rests. Rest and motion last geometric times of mean `mean_stop` and `mean_go` steps, and a trial
      starts in either as often as they occur. The agent may turn while it rests;
    - walls: the path is mirrored, as a ball bounces. Inputs are what was really travelled: after a bounce the
      mirrored heading, and on the very step that meets a wall the direction and length of the straight line
      from where the agent was to where it ends. So adding up the inputs gives the target exactly.

    Inputs: cos and sin of the heading (3D: of azimuth, then of elevation), the speed, and the start position,
    which is given at the first step alone and is 0 afterwards. Target: the position after each step's move.
    """

    name: ClassVar[str] = "path_integration"
    summary: ClassVar[str] = "keep track of the position from heading and speed"
    citation: ClassVar[str] = (
        "Cueva & Wei (2018), ICLR, arXiv 1803.07770; parameters of Huang et al. (2025), arXiv 2410.03972"
    )
    difficulty_fields: ClassVar[tuple[str, ...]] = ("dimensions", "v_max")
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 1e-3,
        "schedule": {"name": "reduce_on_plateau", "factor": 0.5, "patience": 40},
        "steps_per_epoch": 128,
        "batch_size": 64,
        "max_epochs": 1000,
    }

    dimensions: Literal[2, 3] = pydantic.Field(2, description="dimensions of the box")
    n_steps: int = pydantic.Field(100, ge=2, description="time steps per trial")
    side: float = pydantic.Field(10.0, gt=0, description="side of the box")
    v_max: float = pydantic.Field(0.4, gt=0, description="highest speed, a step")
    heading_sd: float = pydantic.Field(math.pi / 10, ge=0, description="sd of the turn at a step, radians")
    speed_sd: float = pydantic.Field(0.1, ge=0, description="sd of the change of speed at a step")
    mean_stop: float = pydantic.Field(30.0, ge=1, description="mean duration of a rest, steps")
    mean_go: float = pydantic.Field(50.0, ge=1, description="mean duration of a motion, steps")
    threshold: float = pydantic.Field(0.05, gt=0, description="training stops under this mean squared error")

    @pydantic.model_validator(mode="after")
    def _motion_possible(self) -> Self:
        if 1 / self.mean_stop + 1 / self.mean_go > 1:
            raise ValueError(
                f"mean_stop = {self.mean_stop:g} and mean_go = {self.mean_go:g} steps are too short: "
                "1/mean_stop + 1/mean_go must be at most 1 (2 steps each will do)"
            )
        if self.v_max > self.side:
            raise ValueError(f"v_max = {self.v_max:g} crosses the whole box of side = {self.side:g} in one step")
        return self

    @property
    def input_size(self) -> int:
        """Cos and sin of each angle, the speed, the start position."""
        return 2 * (self.dimensions - 1) + 1 + self.dimensions

    @property
    def output_size(self) -> int:
        """One coordinate per dimension."""
        return self.dimensions

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        angles = ("heading",) if self.dimensions == 2 else ("azimuth", "elevation")
        headings = tuple(f"{part} {angle}" for angle in angles for part in ("cos", "sin"))
        return (*headings, "speed", *(f"start {axis}" for axis in "xyz"[: self.dimensions]))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of each output channel."""
        return tuple("xyz"[: self.dimensions])

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: motion (member, trial, time, in) and positions (member, trial, time, dimension).

        The agent walks freely through mirror images of the box; mirroring them back gives the path in the box.
        There is no loop over time.
        """
        # Coordinates come first, so that each is one block: sums over a last axis of 2 or 3 are slow.
        start = streams.uniform((n_trials, 1, self.dimensions), 0, self.side).movedim(-1, 0)
        direction = _direction(self._angles(streams, n_trials))
        speed = self._speed(streams, n_trials)
        free = torch.cat([start, start + (speed * direction).cumsum(-1)], -1)
        folded = free.remainder(2 * self.side)  # the box and its mirror image, side by side
        position = _unfold(folded, self.side)

        # No step is longer than the box, so that a bounce is a change between the box and a mirror image beside it.
        mirrored = folded >= self.side
        bounced = (mirrored[..., 1:] != mirrored[..., :-1]).any(0)
        direction = torch.where(mirrored[..., 1:], -direction, direction)
        moved = position.diff()
        distance = moved.square().sum(0).sqrt()
        # A corner met head-on leaves the agent where it was: any direction then does, but not 0/0.
        straight = bounced & (distance > 0)
        heading = _cos_sin(torch.where(straight, moved / distance.clamp(min=1e-12), direction))

        at_start = torch.zeros_like(moved)
        at_start[..., 0] = position[..., 0] - self.side / 2
        inputs = torch.cat([heading, torch.where(bounced, distance, speed)[None], at_start])
        # Together first, then turned: twice as fast as torch.stack along the last axis.
        return Trials.of(*(x.movedim(0, -1).contiguous() for x in (inputs, position[..., 1:] - self.side / 2)))

    def _angles(self, streams: Streams, n_trials: int) -> Tensor:
        """Heading, or azimuth and elevation, before any wall: (angle, member, trial, time), radians."""
        n_angles = self.dimensions - 1
        first = math.pi * streams.uniform((n_trials, 1, n_angles)).movedim(-1, 0)
        turns = streams.normal((n_trials, self.n_steps, n_angles)).movedim(-1, 0).contiguous()
        angles = first + (self.heading_sd * turns).cumsum(-1)
        angles[0] += first[0]  # uniform over the full circle; an elevation over half of it
        if n_angles == 2:
            angles[1] = _reflect(angles[1], math.pi) - math.pi / 2
        return angles

    def _speed(self, streams: Streams, n_trials: int) -> Tensor:
        """Speed at each step, 0 at rest: (member, trial, time)."""
        first = streams.uniform((n_trials, 1), 0, self.v_max)
        walk = first + self.speed_sd * streams.normal((n_trials, self.n_steps)).cumsum(-1)
        draw = streams.uniform((n_trials, self.n_steps))
        # A draw under 1/mean_stop says "go", one over 1 - 1/mean_go says "rest", any other "as before": the chance
        # to leave rest is then 1/mean_stop per step and that to leave motion 1/mean_go. The last order holds.
        go, rest = draw < 1 / self.mean_stop, draw >= 1 - 1 / self.mean_go
        share = self.mean_go / (self.mean_go + self.mean_stop)
        go[..., 0] = draw[..., 0] < share
        rest[..., 0] = ~go[..., 0]
        step = torch.arange(self.n_steps, device=draw.device)
        last_order = torch.where(go | rest, step, 0).cummax(-1).values
        return _reflect(walk, self.v_max) * go.gather(-1, last_order)

    def solve(self, inputs: Tensor) -> Tensor:
        """Start position plus the sum of speed * direction so far."""
        n_angles = self.dimensions - 1
        cos, sin = inputs[..., 0 : 2 * n_angles : 2], inputs[..., 1 : 2 * n_angles : 2]
        heading = torch.stack([cos[..., 0], sin[..., 0]], -1)
        if n_angles == 2:
            heading = torch.cat([cos[..., 1:] * heading, sin[..., 1:]], -1)
        speed, start = inputs[..., 2 * n_angles, None], inputs[:, :, :1, 2 * n_angles + 1 :]
        return start + (speed * heading).cumsum(2)

    def chance_loss(self) -> float:
        """The variance side^2/12 of a uniform coordinate.

        A uniform start displaced by anything whose sign is symmetric and mirrored at the walls is uniform again.
        """
        return self.side**2 / 12

    def variants(self) -> Mapping[str, Variant]:
        """Twice as long, noisy inputs, and faster motion."""
        v_max = min(1.5 * self.v_max, self.side)
        factor = v_max / self.v_max
        faster = self.replace(v_max=v_max, speed_sd=factor * self.speed_sd)
        return {
            **self.longer_trials(2),
            "input_noise": self.noisy_inputs(0.05),
            "amplitude": Variant(
                description=(
                    f"speeds times {factor:g}: up to {faster.v_max:g} instead of {self.v_max:g}; targets are the "
                    "positions so reached"
                ),
                sample=faster.sample,
            ),
        }


def _unfold(x: Tensor, width: float) -> Tensor:
    """Mirror x in [0, 2 width) back into [0, width]."""
    return width - (x - width).abs()


def _reflect(x: Tensor, width: float) -> Tensor:
    """Mirror x back into [0, width] (a triangle wave of period 2 width)."""
    return _unfold(x.remainder(2 * width), width)


def _direction(angles: Tensor) -> Tensor:
    """Unit vectors (dimension, ...) of a heading (1, ...) or of azimuth and elevation (2, ...)."""
    flat = torch.stack([angles[0].cos(), angles[0].sin()])
    if len(angles) == 1:
        return flat
    elevation = angles[1:]
    return torch.cat([elevation.cos() * flat, elevation.sin()])


def _cos_sin(direction: Tensor) -> Tensor:
    """Cos and sin of the heading, or of azimuth and then elevation, of unit vectors (dimension, ...)."""
    if len(direction) == 2:
        return direction
    flat = direction[:2].square().sum(0).sqrt()
    # Straight up or down has no azimuth: its cos and sin, multiplied by 0, are then set to 0 rather than 0/0.
    return torch.stack([*(direction[:2] / flat.clamp(min=1e-12)), flat, direction[2]])
