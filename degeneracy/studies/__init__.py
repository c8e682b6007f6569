"""Studies: what a study says (task, network, training, factors, claims) and what it found; `runs` carries it out."""
