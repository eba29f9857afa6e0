"""Figures by subject behind ``figures``, and their style."""
