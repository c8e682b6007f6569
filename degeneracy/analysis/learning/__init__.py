"""Numbers that each member has by itself, such as a dimension or how far training turned a kernel."""
