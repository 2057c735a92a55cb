"""Pictures of a training run, put beside the card of its release."""

from __future__ import annotations

from pathlib import Path

from zoo.train.figures import CALIBRATION, HISTOGRAM, LEARNING, PARITY, draw_run
from zoo_registry.metadata import Metadata

CAPTIONS = {
    LEARNING: "Learning curve: loss, and mean absolute errors on the validation set",
    PARITY: "Prediction against reference on the test set; colours count, energies are less the constants of the atoms",
    HISTOGRAM: "Sizes of the errors on the test set",
    CALIBRATION: "Error against the spread of the committee on the test set",
}


def write(run: Path, metadata: Metadata, folder: Path) -> None:
    """Draw what a run folder holds: ``metrics.csv``, and ``errors-test.npz`` of ``zoo evaluate``.

    Args:
        run: The run folder.
        metadata: Of the release.
        folder: Where the pictures go.

    Raises:
        DataError: A damaged ``errors-test.npz``.
    """
    draw_run(run, {name: facts["unit"] for name, facts in metadata.outputs.items()}, folder)


def section(folder: Path) -> str | None:
    """Return the part of the card that shows the pictures of a release folder; None where there are none."""
    shown = [f"![{caption}]({name})\n\n{caption}." for name, caption in CAPTIONS.items() if (folder / name).is_file()]
    return "## Pictures\n\n" + "\n\n".join(shown) if shown else None
