"""Rewriting what functional control flow and function calls run."""
