"""Pictures of spectra."""

from __future__ import annotations

from pathlib import Path

from zoo_runtime.simulate.spectra import Spectrum


def plot_spectrum(found: Spectrum, path: str | Path) -> None:
    """Draw a spectrum.

    Args:
        found: What to draw.
        path: Its suffix chooses the format: ``.png``, ``.svg``, ``.pdf``.
    """
    from matplotlib.figure import Figure  # not pyplot, which keeps global state and may ask for a screen

    panels = [(found.density, found.peaks, "density of states (modes per cm⁻¹)")]
    if found.infrared is not None:
        panels.append((found.infrared, found.infrared_peaks, "infrared intensity (relative)"))
    figure = Figure(figsize=(8, 3 * len(panels)), layout="constrained")
    for axes, (heights, peaks, title) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        axes.plot(found.wavenumbers, heights, linewidth=1)
        for peak in peaks:
            axes.annotate(f"{peak:.0f}", (peak, heights[found.wavenumbers.searchsorted(peak)]), fontsize=6, rotation=90)
        axes.set(xlabel="wavenumber (cm⁻¹)", ylabel=title, xlim=(0, found.wavenumbers[-1]))
        axes.margins(y=0.15)
    figure.savefig(path, dpi=200)
