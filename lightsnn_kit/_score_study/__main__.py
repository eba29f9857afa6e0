"""``python -m lightsnn_kit._score_study <study>``."""

from .study import main

main()
