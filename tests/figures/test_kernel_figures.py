"""Kernels side by side and beside their spectra, as numbers."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lightsnn_kit import figures

HAMMING = np.array([[0.0, 4, 2], [4, 0, 6], [2, 6, 0]])
D = HAMMING / 10
K = 20 - D


@pytest.mark.parametrize("theme", figures.THEMES)
def test_both_figures_have_themes_and_a_height(theme: str) -> None:
    for fig in (figures.kernel_panels(HAMMING, D, K, theme=theme), figures.eigenvalue_spectrum(K, theme=theme)):
        assert fig.layout.template.layout.paper_bgcolor == figures.THEMES[theme].surface
        assert fig.layout.width is None
        assert fig.layout.height - fig.layout.margin.t - fig.layout.margin.b > 200


def test_panels_are_sorted_alike_and_coloured_by_what_is_off_the_diagonal() -> None:
    fig = figures.kernel_panels(HAMMING, D, K, labels=[1, 0, 1])  # samples 1, 0, 2
    hamming, d, kernel = fig.data
    assert hamming.z.tolist() == [[0, 4, 6], [4, 0, 2], [6, 2, 0]]
    assert d.z == pytest.approx(hamming.z / 10)
    assert kernel.z == pytest.approx(20 - hamming.z / 10)
    assert (hamming.zmin, hamming.zmax) == (2, 6)
    assert (kernel.zmin, kernel.zmax) == pytest.approx((19.4, 19.8))
    assert all(heat.customdata[0, 2].tolist() == [2, 1] for heat in fig.data)
    assert [heat.xaxis for heat in fig.data] == ["x", "x2", "x3"]
    assert [axis.scaleanchor for axis in fig.select_yaxes()] == ["x", "x2", "x3"]
    assert list(fig.layout.xaxis3.ticktext) == ["0", "1"]
    assert len(fig.layout.shapes) == 3 * 2  # one cut across and one down per panel
    assert {shape.yref for shape in fig.layout.shapes} == {"y", "y domain", "y2", "y2 domain", "y3", "y3 domain"}


def test_the_spectrum_adds_up_to_the_log_determinant() -> None:
    fig = figures.eigenvalue_spectrum([[2, 1], [1, 2]])  # eigenvalues 3 and 1
    (bars,) = fig.data
    assert list(bars.y) == pytest.approx([3, 1])
    assert (fig.layout.yaxis.type, bars.showlegend) == ("log", False)
    assert "log|det K| = Σ log|λ| = 1.099" in fig.layout.title.text
    dead = figures.eigenvalue_spectrum(np.ones((3, 3)))
    assert "log|det K| = Σ log|λ| = −∞" in dead.layout.title.text
    assert [trace.name for trace in dead.data if trace.showlegend] == ["λ > 0", "λ = 0 (within rounding)"]


def test_large_kernels_stay_below_a_megabyte() -> None:
    noise = np.random.default_rng(0).random((500, 500))
    kernel = noise + noise.T
    panels = figures.kernel_panels(kernel, kernel, kernel, labels=np.arange(500) % 10)
    assert panels.data[2].z.shape == (100, 100)
    assert "100 of 500 samples, evenly spaced" in re.sub("<[^>]+>", "", panels.layout.title.text)
    assert len(panels.to_json()) < 1e6
    assert figures.kernel_heatmap(kernel).data[0].z.shape == (200, 200)
    spectrum = figures.eigenvalue_spectrum(kernel)
    assert sum(len(trace.x) for trace in spectrum.data) == 500  # every eigenvalue
    assert len(spectrum.to_json()) < 1e6


def test_other_shapes_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"hamming must be a symmetric \[B, B\] matrix, got shape \(1, 2\)"):
        figures.kernel_panels([[1, 2]], D, K)
    with pytest.raises(ValueError, match=r"labels must be one per sample, shape \(3,\); got \(2,\)"):
        figures.kernel_panels(HAMMING, D, K, labels=[0, 1])
    with pytest.raises(ValueError, match=r"kernel must be a non-empty \[B, B\] array"):
        figures.eigenvalue_spectrum([1, 2])
