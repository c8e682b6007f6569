"""Parametrisations: how strongly each group of parameters starts, and how training scales with width.

Two are here. `standard` is `torch.nn.RNN`'s: U(-1/sqrt N, 1/sqrt N), one learning rate. `mup`, the maximal-update
parametrisation with the feature-learning strength gamma, keeps the change of the states in training of one size at
every width N, and the larger gamma, the larger that change for the same change of the output. Written with the
parameters of the mean-field form, h' = phi(J phi(h)/N + U x + b), y = W_out phi(h)/(gamma N) + c:

    | parameter | start            | Adam's rate   | size of its gradient |
    | J         | N(0, N)          | gamma eta     | 1/(gamma N^2)        |
    | U, b      | N(0, 1/inputs), 0| gamma eta     | 1/(gamma N)          |
    | W_out     | N(0, 1)          | gamma eta     | 1/(gamma N)          |
    | c         | 0                | eta           | 1                    |

What is stored and trained here is what acts, W_rec = J/N and W_out/(gamma N), so that a network of either
parametrisation is run and measured alike. Adam does not notice the scale of a gradient, so that its rate for J/N is
1/N of that for J; its eps is scaled like the gradient, and the norm that is clipped counts each group's gradient
divided by its size at every width, which makes it of order 1.

Source: the row of J as published by Huang et al. (2025), arXiv 2410.03972, after Bordelon & Pehlevan (2022), arXiv
2205.09653; the other rows by the same argument. Maximal updates: Yang & Hu (2021), arXiv 2011.14522.
"""

from collections.abc import Callable
from dataclasses import dataclass

from degeneracy.networks.cell import Parameter


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How one parameter starts and is trained, as factors on what `Training` says."""

    start: float  # of its first entries: their sd, or where uniform ones end
    normal: bool = True  # Gaussian, or uniform in (-start, start)
    rate: float = 1.0  # on the learning rate
    eps: float = 1.0  # on Adam's eps
    norm: float = 1.0  # on its gradient, where the norm to be clipped is taken

    @property
    def sd(self) -> float:
        """The standard deviation of its first entries."""
        return self.start if self.normal else self.start / 3**0.5


def standard(parameter: Parameter, n_units: int, n_inputs: int, gamma: float) -> Scale:
    """`torch.nn.RNN`'s start for every parameter, U(-1/sqrt N, 1/sqrt N), and one learning rate.

    Args:
        parameter: whichever.
        n_units: N.
        n_inputs: number of inputs.
        gamma: has no meaning here.
    """
    del parameter, n_inputs, gamma
    return Scale(start=n_units**-0.5, normal=False)


def mup(parameter: Parameter, n_units: int, n_inputs: int, gamma: float) -> Scale:
    """The maximal-update parametrisation of a one-gate cell; see the module's table.

    Args:
        parameter: of a role other than "unit".
        n_units: N.
        n_inputs: number of inputs.
        gamma: the feature-learning strength, > 0; larger is richer.
    """
    n = float(n_units)
    role = parameter.role
    if role == "recurrent":
        return Scale(start=n**-0.5, rate=gamma / n, eps=1 / (gamma * n), norm=gamma)
    if role in ("input", "bias"):
        start = n_inputs**-0.5 if role == "input" else 0.0
        return Scale(start=start, rate=gamma, eps=1 / (gamma * n), norm=gamma * n**0.5)
    assert role == "readout", role
    if "pre" in parameter.axes:
        return Scale(start=1 / (gamma * n), rate=1 / n, norm=n**-0.5)
    return Scale(start=0.0)


PARAMETRISATIONS: dict[str, Callable[[Parameter, int, int, float], Scale]] = {"standard": standard, "mup": mup}
