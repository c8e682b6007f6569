"""What every room stands on: errors, specs, names of code, random streams, files, processes."""
