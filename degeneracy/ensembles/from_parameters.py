"""Ensembles from the parameters of networks that were made elsewhere: the ways of `Ensemble` to take them in."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

from degeneracy.core.ambient import ordinary_state
from degeneracy.ensembles.layouts.checkpoints import read_states
from degeneracy.ensembles.layouts.members import network_of, read_cell, read_members
from degeneracy.networks import Cell
from degeneracy.training import Member


class FromParameters:
    """What an `Ensemble` can be made from beside training and modules: arrays by their names, at hand or in files."""

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
        return cls._of(cell, cell_options, known, members)

    @classmethod
    @ordinary_state()
    def from_state_dicts(
        cls,
        cell: str | Cell,
        paths: Sequence[str | Path],
        *,
        names: Mapping[str, str] | None = None,
        layout: str | None = "torch",
        initial: Sequence[str | Path] | None = None,
        cell_options: Mapping[str, Any] | None = None,
    ) -> Self:
        """An ensemble of networks whose parameters lie in files, one per member.

        A file is a .safetensors, or a .pt, .pth, .ckpt or .bin that torch.save has written: a state_dict, or a
        checkpoint with one state_dict in it, whatever else it holds (epochs, an optimiser's state). Of the latter only
        tensors and plain values are read, and no code in them is run.

        Args:
            cell, cell_options: as of `from_parameters`.
            paths: the files.
            names: where files hold more than the recurrent layer and its readout, or call them otherwise, what each
                array is called in them, by its name in the layout: {"weight_ih_l0": "encoder.rnn.weight_ih_l0", ...,
                "weight": "head.weight", "bias": "head.bias"}. Nothing else is then read. In a checkpoint with several
                state_dicts a name begins with that of its entry: "model.head.weight".
            layout: as of `from_parameters`; with None, `names` gives the parameters of any cell.
            initial: the files from before training.

        Raises:
            UserError: a file that is missing or damaged, or does not hold such a network; names it.
        """
        known = read_cell("from_state_dicts", cell, cell_options)
        states, files = read_states("from_state_dicts", paths, names)
        untrained, before = (None, []) if initial is None else read_states("from_state_dicts", initial, names)
        members = read_members("from_state_dicts", known, layout, states, untrained, sources=(files, before))
        return cls._of(cell, cell_options, known, members)

    @classmethod
    def _of(cls, asked: str | Cell, options: Mapping[str, Any] | None, cell: Cell, members: tuple[Member, ...]) -> Self:
        network = network_of(asked, options, cell, members)
        made: Self = cast(Any, cls)(network=network, members=members, cells=() if network else (cell,) * len(members))
        return made
