"""Trunks: networks from images to features, one file each."""
