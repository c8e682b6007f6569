"""Arrays of networks with a cell, as a user gives them."""

from typing import Any

import numpy as np
import torch

import degeneracy as dg
from degeneracy.networks import forward, initial_params
from degeneracy.networks.cell import Cell, Params

NEED_A_CELL = ("fixed_points", "signed_pif", "orthogonal")
N_MEMBERS, N_TRIALS, N_STEPS, N_UNITS, N_INPUTS = 3, 10, 8, 6, 2
OPTIONS = {
    "fixed_points": {"n_starts": 32},
    "pif": {"n_restarts": 2},
    "signed_pif": {"n_restarts": 2},
    "orthogonal": {"n_starts": 2},
}


def few(*measures: str) -> dict[str, Any]:
    """Measures with small options."""
    return {
        "measures": list(measures),
        "options": {name: OPTIONS[name] for name in measures if name in OPTIONS},
    }


def networks(cell: str, n_members: int = N_MEMBERS, **options: Any) -> tuple[Cell, Params, dict[str, Any]]:
    """Untrained networks of a cell, as the arrays that `measure_arrays` takes."""
    network = dg.Network(hidden_size=N_UNITS, cell=cell, cell_options=options, init_gain=1.3)
    params = initial_params(network, N_INPUTS, 1, range(n_members))
    params = {name: value.double() for name, value in params.items()}
    kind = network.build_cell()
    inputs = np.random.default_rng(1).normal(size=(N_TRIALS, N_STEPS, N_INPUTS))
    states, _ = forward(kind, params, torch.from_numpy(inputs).expand(n_members, -1, -1, -1), {})
    gates, biases = kind.gates, [params[name] for name in kind.biases]
    shape = (n_members, gates, N_UNITS) if gates > 1 else (n_members, N_UNITS)
    bias = torch.stack([one.reshape(shape) for one in biases], dim=-2) if len(biases) > 1 else biases[0].reshape(shape)
    between = [params[name].reshape(*shape, N_UNITS).numpy() for name in kind.between_units]
    arrays = {
        "states": kind.hidden(states).numpy(),
        **({"weights": between[0]} if between else {}),
        "input_weights": params["W_in"].reshape(*shape, N_INPUTS).numpy(),
        "bias": bias.numpy(),
        "readout": params["W_out"].numpy(),
        "inputs": inputs,
    }
    return kind, params, arrays


def rows(result: dg.Result, measure: str) -> list[dict[str, Any]]:
    table = result.table
    return table[table["measure"] == measure].to_dict("records")
