"""The command line."""

from degeneracy.cli.commands import main

__all__ = ["main"]
