"""Ensembles from the parameters of networks that were made elsewhere: the ways of `Ensemble` to take them in."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

from degeneracy.core.ambient import ordinary_state
from degeneracy.ensembles.layouts.members import network_of, read_cell, read_members
from degeneracy.networks import Cell


class FromParameters:
    """What an `Ensemble` can be made from beside training and modules: arrays by their names."""

    @classmethod
    @ordinary_state()
    def from_parameters(
        cls,
        cell: str | Cell,
        parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any],
        *,
        layout: str | None = None,
        initial: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
        cell_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """An ensemble of networks whose parameters are at hand as arrays, to be used with any task.

        Args:
            cell: what each network is: a name in `CELLS`, module:Name or a `Cell`, with a linear readout.
            parameters: one dictionary of arrays per member, or one of arrays with a leading member axis; arrays of
                numpy, torch, JAX, Keras and others. They stay in single precision where they are in it.
            layout: whose names and order of axes they have. None is this package's, as of `weights`. Of the cells
                tanh, relu, gru and lstm also, each with its readout, under any prefix and in nested dictionaries:
                "torch" (a state_dict: `weight_ih_l0` or `weight_ih`, ...; nn.Linear), "keras" (by paths: `kernel`,
                `recurrent_kernel`, `bias`; Dense, as "dense/kernel"; SimpleRNN, GRU with reset_after, LSTM) and "flax"
                (flax.linen: SimpleCell, GRUCell, LSTMCell; Dense). Activations are their defaults, or relu by `cell`.
            initial: the same before training, which then are the reference of what is measured.
            cell_options: the fields of a cell given by its name, such as {"dt_ms": 10, "tau_ms": 50, "form": "rate"}.

        Raises:
            UserError: names that are unknown, missing or of several layers, or shapes that do not fit.
        """
        known = read_cell("from_parameters", cell, cell_options)
        members = read_members("from_parameters", known, layout, parameters, initial)
        network = network_of(cell, cell_options, known, members)
        made: Self = cast(Any, cls)(network=network, members=members, cells=() if network else (known,) * len(members))
        return made
