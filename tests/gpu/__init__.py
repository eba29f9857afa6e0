"""``make gpu``: in at most eight minutes on one card, whether the CUDA code is right and how fast; see ``__main__``."""
