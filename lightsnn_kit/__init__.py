"""Train-free search, training and study of spiking neural networks built from cells; import the modules you need.

``from lightsnn_kit import cells, search`` and so on: importing the package alone loads no torch and no plotly.
"""

__version__ = "0.1.0"
