"""``python -m graphrev``."""

from graphrev.cli import main

main()
