"""Steering to play with: a page with every point computed beforehand, and a live widget for notebooks."""
