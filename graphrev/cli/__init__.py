"""The command line: one small file per command, loaded when it is called."""

from graphrev.cli.main import main

__all__ = ["main"]
