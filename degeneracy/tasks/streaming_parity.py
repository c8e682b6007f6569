"""Streaming parity: after every token, say whether the number of ones so far is odd."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pydantic
import torch
from torch import Tensor

from degeneracy.core.streams import Streams
from degeneracy.tasks.losses import BCE, Loss
from degeneracy.tasks.task import Task, Variant
from degeneracy.tasks.trials import Trials

RUN_STEPS = 200  # of one token in a row
CERTAIN = 20.0  # the solver's logit: it costs e^-20 = 2e-9 nats


class StreamingParity(Task):
    """Streaming parity.

    At every step one of two tokens comes, 0 or 1, equally likely; the input is one-hot, with one channel per token. The
    output is the logit of the parity: the target is 1 where the number of ones so far, this step's included, is odd,
    else 0. A network is judged by its share of wrong decisions over all steps.

    Trained on short strings, a network that has found the algorithm (two states that token 1 exchanges) is right at any
    length. Random strings alone do not tell: a network may forget within a long run of one token, which random
    strings hardly ever hold. The variant `constant_runs` asks for that.
    """

    name: ClassVar[str] = "streaming_parity"
    summary: ClassVar[str] = "say after every token whether the number of ones so far is odd"
    citation: ClassVar[str] = "van Rossem & Saxe (2025), ICML, arXiv 2507.09897"
    difficulty_fields: ClassVar[tuple[str, ...]] = ("n_steps",)
    training_defaults: ClassVar[Mapping[str, Any]] = {
        "learning_rate": 5e-3,
        "batch_size": 64,
        "steps_per_epoch": 50,
        "max_epochs": 300,
    }
    loss: ClassVar[Loss] = BCE
    stop: ClassVar[Literal["loss", "wrong"]] = "wrong"

    n_steps: int = pydantic.Field(20, ge=2, description="tokens per trial")
    threshold: float = pydantic.Field(0.002, gt=0, description="training stops under this share of wrong decisions")

    @property
    def input_size(self) -> int:
        """One channel per token."""
        return 2

    @property
    def output_size(self) -> int:
        """The logit of the parity."""
        return 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """Label of each input channel."""
        return ("token 0", "token 1")

    @property
    def output_names(self) -> tuple[str, ...]:
        """Label of the output, the logit of the parity."""
        return ("odd",)

    def sample(self, streams: Streams, n_trials: int) -> Trials:
        """Fresh trials: one-hot tokens (member, trial, time, 2) and the parity so far."""
        return _trials(streams.integers((n_trials, self.n_steps), 0, 2))

    def solve(self, inputs: Tensor) -> Tensor:
        """The running parity of the tokens whose channel is the larger one, without any doubt."""
        odd = (inputs[..., 1] > inputs[..., 0]).cumsum(2) % 2
        return (CERTAIN * (2 * odd - 1)).to(inputs.dtype).unsqueeze(-1)

    def chance_loss(self) -> float:
        """ln 2: the parity is a fair coin at every step."""
        return math.log(2)

    def rest_input(self) -> None:
        """None: a token comes at every step."""

    def held_inputs(self) -> Mapping[str, Sequence[float]]:
        """Either token, again and again.

        Under token 0 the parity stays, so that a network needs two attractors; under token 1 it alternates, which may
        be a cycle of two steps.
        """
        return {"token_0": (1.0, 0.0), "token_1": (0.0, 1.0)}

    def variants(self) -> Mapping[str, Variant]:
        """Random strings 5 and 50 times as long, and long runs of one token."""
        return {
            **self.longer_trials(5, 50, unit="tokens"),
            "constant_runs": Variant(
                description=(
                    f"{self.n_steps} random tokens, then {RUN_STEPS} times the same one; the same rule, scored in the "
                    "run"
                ),
                sample=self._constant_runs,
            ),
        }

    def _constant_runs(self, streams: Streams, n_trials: int) -> Trials:
        """Trials of the trained length that go on with one token, drawn once per trial."""
        before = streams.integers((n_trials, self.n_steps), 0, 2)
        run = streams.integers((n_trials, 1), 0, 2).expand(-1, -1, RUN_STEPS)
        trials = _trials(torch.cat([before, run], 2))
        step = torch.arange(trials.inputs.shape[2], device=streams.device)
        return trials.replace(scored=(step >= self.n_steps).expand(trials.inputs.shape[:3]).contiguous())


def _trials(tokens: Tensor) -> Trials:
    """Trials of tokens (member, trial, time)."""
    inputs = torch.nn.functional.one_hot(tokens, 2).float()
    return Trials.of(inputs, (tokens.cumsum(2) % 2).float().unsqueeze(-1))
