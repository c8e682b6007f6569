"""Networks of Keras and Flax: taken in from their parameters, compared with what they did there, measured together.

Run it with `python examples/other_frameworks.py`; neither package is needed. The stored networks, two GRUs and two
LSTMs with their inputs and outputs, are small and were never trained, so that their distances mean nothing. Parameters
of yours are had, in the program that trained them, by

    {w.path: np.asarray(w) for w in model.weights}                  # Keras 3
    flax.traverse_util.flatten_dict(state.params, sep="/")          # Flax, or `state.params` as it is
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import degeneracy as dg

STORED = Path(__file__).parent.parent / "tests" / "ensembles" / "fixtures"
RUN = ("inputs", "states", "outputs")  # beside the parameters, in the same files


def taken_in(layout: str, cell: str) -> dg.Ensemble:
    """Networks from one file, after their outputs were compared with those that their package gave."""
    arrays = load_file(STORED / f"{layout}_{cell}.safetensors")
    parameters = {name: array for name, array in arrays.items() if name not in RUN}
    print(f"{layout}: {', '.join(parameters)}")
    ensemble = dg.Ensemble.from_parameters(cell, parameters, layout=layout)
    states, outputs = ensemble.rollout(arrays["inputs"])
    for what, here in (("states", states), ("outputs", outputs)):
        difference = np.abs(here - arrays[what]).max()
        print(f"{layout} {cell}: {what} differ by up to {difference:.1e}")
        assert difference < 1e-5, f"{what} of the {layout} {cell}"
    return ensemble


def main() -> None:
    """Take both kinds in, put them side by side and measure them on one task."""
    grus, lstms = taken_in("keras", "gru"), taken_in("flax", "lstm")
    together = dg.Ensemble.from_modules([*grus.to_modules(), *lstms.to_modules()])
    print(together)
    task = dg.tasks.PerceptualDecision()
    result = dg.measure(together, task, measures=("procrustes", "cka", "output_distance"), jobs=1)
    print(result.table[["measure", "variant", "value", "floor"]].to_string(index=False))
    print("distances between the shapes of their states, GRUs first:")
    print(np.round(result.distances["procrustes"], 2))


if __name__ == "__main__":
    main()
