"""Recurrent maps: what is trained in place of recurrent weights, and the weights that it makes.

A map stands before the gradient: networks run, and are measured, with the weights that act; their gradient is pulled
back to what is trained (`training.mapped`). `RECURRENT_MAPS` is the table; one's own map is one subclass of
`RecurrentMap`, named as `module:Name`.
"""

from abc import abstractmethod
from typing import ClassVar

import pydantic
import torch
from torch import Tensor

from degeneracy.core.errors import UserError
from degeneracy.core.specs import Spec
from degeneracy.core.streams import Streams
from degeneracy.networks.cell import Params


class RecurrentMap(Spec):
    """How recurrent weights are made of what is trained.

    A map that treats units differently says which are alike (`classes`), and what is left of the cell's symmetry
    (`symmetry`): distances of weights then relabel units within their class alone.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    source: ClassVar[str]

    @abstractmethod
    def free(self, drawn: Tensor, sd: float, streams: Streams) -> Params:
        """What is trained, at its start, by name.

        Args:
            drawn: the recurrent weights that a dense network of these seeds starts with, (member, G * N, N).
            sd: the standard deviation of their entries.
            streams: the members' streams for draws beyond these.

        Returns:
            Tensors with a leading member axis, float32. Acting weights as large as dense ones, by the radius of their
            eigenvalues, keep the start of the dynamics what it is.
        """

    @abstractmethod
    def acting(self, free: Params) -> Tensor:
        """The weights that act, (member, G * N, N): differentiable torch, each member by itself."""

    @abstractmethod
    def holds(self, acting: Tensor) -> Tensor:
        """Whether weights (member, G * N, N) are such as the map makes, (member,)."""

    def check(self, n_units: int) -> None:
        """Refuse fields that networks of so many units cannot have.

        Raises:
            UserError: such a field.
        """

    def classes(self, n_units: int) -> tuple[str, ...]:  # noqa: ARG002
        """The class of each unit, of which those of different classes are never exchanged; () where all are alike."""
        return ()

    def symmetry(self, cell: str) -> str:
        """What is left of a cell's symmetry, both as names in `SYMMETRIES`."""
        return cell


class Dense(RecurrentMap):
    """The weights themselves are trained."""

    name: ClassVar[str] = "dense"
    summary: ClassVar[str] = "every recurrent weight is trained by itself"
    source: ClassVar[str] = "Elman (1990)"

    def free(self, drawn: Tensor, sd: float, streams: Streams) -> Params:  # noqa: ARG002
        """The weights as they are drawn."""
        return {"": drawn}

    def acting(self, free: Params) -> Tensor:
        """The weights themselves."""
        return free[""]

    def holds(self, acting: Tensor) -> Tensor:
        """Any weights."""
        return torch.ones(len(acting), dtype=torch.bool)


class LowRank(RecurrentMap):
    """W = L R^T, with L (member, G * N, rank) and R (member, N, rank) trained.

    L and R are normal at the start, their sd such that the entries of W have that of a dense start, and W then its
    spectral radius. L A and R A^-T make the same network for any A; distances are of W, which does not see A.
    """

    name: ClassVar[str] = "low_rank"
    summary: ClassVar[str] = "recurrent weights of low rank: the product of two matrices that are trained"
    source: ClassVar[str] = "Mastrogiuseppe & Ostojic (2018), Neuron 99:609; trained: Dubreuil et al. (2022)"

    rank: int = pydantic.Field(2, ge=1, description="largest rank of the recurrent weights (of all gates together)")

    def check(self, n_units: int) -> None:
        """A rank of more than the number of units is none."""
        if self.rank > n_units:
            raise UserError(f"LowRank: rank = {self.rank} is wrong: {n_units} units allow {n_units} at most")

    def free(self, drawn: Tensor, sd: float, streams: Streams) -> Params:
        """Both factors normal: an entry of W, a sum of `rank` products, has the variance rank * size^4 = sd^2."""
        size = (sd**2 / self.rank) ** 0.25
        return {
            name: size * streams.normal((n, self.rank)).to(drawn.device)
            for name, n in (("left", drawn.shape[1]), ("right", drawn.shape[2]))
        }

    def acting(self, free: Params) -> Tensor:
        """L R^T."""
        return free["left"] @ free["right"].mT

    def holds(self, acting: Tensor) -> Tensor:
        """Whether the singular values beyond the rank are rounding: of float32, 1e-5 of the largest."""
        values = torch.linalg.svdvals(acting.double())
        return (
            values[:, self.rank :].amax(1) <= 1e-5 * values[:, 0] if self.rank < values.shape[1] else values[:, 0] >= 0
        )


class Dale(RecurrentMap):
    """W[i, j] = |V[i, j]| s_j, V trained: all weights from unit j have its sign s_j, +1 or -1.

    The first units are excitatory. At the start inhibition balances excitation: the expected sum of the weights to a
    unit is 0, and the bulk of W's eigenvalues has the radius of a dense start; that the sum is 0 only on average puts a
    few outside (Rajan & Abbott 2006, PRL 97:188104). The signs mean what they do in neurons where the units' activity
    is not negative, as of relu.
    """

    name: ClassVar[str] = "dale"
    summary: ClassVar[str] = "excitatory and inhibitory units: all weights from a unit have its sign"
    source: ClassVar[str] = "Song, Yang & Wang (2016), PLoS Comput Biol 12:e1004792"

    excitatory: float = pydantic.Field(0.8, gt=0, lt=1, description="share of excitatory units")

    def check(self, n_units: int) -> None:
        """Both kinds of units are needed."""
        n = self._n_excitatory(n_units)
        if not 0 < n < n_units:
            raise UserError(
                f"Dale: excitatory = {self.excitatory:g} is wrong: of {n_units} units {n} would be excitatory, and both"
                " kinds are needed"
            )

    def _n_excitatory(self, n_units: int) -> int:
        return round(self.excitatory * n_units)

    def _signs(self, like: Tensor) -> Tensor:
        """(pre,)."""
        n, n_units = self._n_excitatory(like.shape[-1]), like.shape[-1]
        return torch.cat([like.new_ones(n), -like.new_ones(n_units - n)])

    def free(self, drawn: Tensor, sd: float, streams: Streams) -> Params:  # noqa: ARG002
        """A dense draw, inhibitory columns times the ratio r of the numbers of units, all times 2 / sqrt(r).

        |u| of u uniform in (-a, a) has the mean a/2 and the variance a^2/12, a quarter of u's: with columns times 1 and
        r the mean of a row is 0, the squared radius of the bulk r/4 of that of u.
        """
        n_units = drawn.shape[-1]
        n = self._n_excitatory(n_units)
        ratio = n / (n_units - n)
        factors = torch.cat([drawn.new_ones(n), drawn.new_full((n_units - n,), ratio)])
        return {"size": drawn * factors * (2 / ratio**0.5)}

    def acting(self, free: Params) -> Tensor:
        """|V| with the signs of the columns."""
        return free["size"].abs() * self._signs(free["size"])

    def holds(self, acting: Tensor) -> Tensor:
        """Whether no weight has the other sign."""
        return (acting * self._signs(acting) >= 0).flatten(1).all(1)

    def classes(self, n_units: int) -> tuple[str, ...]:
        """Excitatory units first."""
        n = self._n_excitatory(n_units)
        return ("excitatory",) * n + ("inhibitory",) * (n_units - n)

    def symmetry(self, cell: str) -> str:
        """Without signs: a unit that changes sign would excite what it inhibited."""
        return {"signed_permutation": "permutation", "linear_permutation": "scaled_permutation"}.get(cell, cell)


RECURRENT_MAPS: dict[str, type[RecurrentMap]] = {Dense.name: Dense, LowRank.name: LowRank, Dale.name: Dale}
