"""``python -m lightsnn_kit.score_study <study>``."""

from .study import main

main()
