"""Faster ways to the same numbers: the engines behind ``Scorer``, the layers of training, their compiled loops.

Nothing is imported here: layers take the loops of training without the engines, which are made of layers.
"""
