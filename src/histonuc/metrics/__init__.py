"""Metrics as counts that add up over tiles, processes and machines; imported without torch."""
