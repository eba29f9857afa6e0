"""Do scores predict accuracy? ``python -m lightsnn_kit.score_study``; notebook 02 shows the results."""
