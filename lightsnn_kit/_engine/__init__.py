"""Engines behind ``scoring.Scorer``: the same integers as the plain scorer, faster."""
