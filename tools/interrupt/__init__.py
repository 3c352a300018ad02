"""Kills writers at random moments; see ``python -m tools.interrupt --help``."""
