"""Benchmarks: memory of a training step by arm and depth, and the cost of rewriting."""
