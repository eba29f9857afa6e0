"""Do scores predict accuracy? ``python -m lightsnn_kit._score_study``; notebook 02 shows the results."""
