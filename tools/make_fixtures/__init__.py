"""Builds the training graphs that tests use, with genuine TensorFlow 1.15.5 (Python 3.7)."""
