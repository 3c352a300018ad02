"""Feeds graphrev mutated inputs; see ``python -m tools.fuzz --help``."""
