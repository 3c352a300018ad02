"""Generates ``graphrev/analysis/op_table.json`` from TensorFlow's own op registries."""
