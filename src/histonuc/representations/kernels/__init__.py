"""Compiled loops of the representations."""
