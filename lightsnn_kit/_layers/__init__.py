"""Layers of the networks and their compiled training loops."""
