"""Random training programs, rewritten and compared; see ``python -m tools.programs --help``."""
