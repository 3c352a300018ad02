"""Workshops and launchers; nothing here is imported by graphrev."""
