"""Which regions and views of the data the test part shows a model to be good at."""

from pathlib import Path

import pandas as pd

FEWEST = 30
"""Fractured, and normal, test images of a region or view below which its figures say little."""
LOWEST = 0.8
"""AUROC at which the 95 % interval of a region or view has to begin."""
_COLUMNS = ("region", "view")


def unproven(slices: Path) -> dict[tuple[str, str], str]:
    """What a model's slices.csv does not show it to be good at: (column, value) -> the figures that say so."""
    table = pd.read_csv(slices)
    found = {}
    for row in table[table["slice"].isin(_COLUMNS)].itertuples():
        few = min(row.fractured, row.images - row.fractured) < FEWEST
        if few or not row.auroc_low >= LOWEST:
            figure = (
                "" if pd.isna(row.auroc) else f", AUROC {row.auroc:.3f} ({row.auroc_low:.3f} to {row.auroc_high:.3f})"
            )
            found[str(row.slice), str(row.value)] = f"{row.fractured} fractured of {row.images}{figure}"
    return found


def warning(slices: Path) -> str:
    """One sentence that lists them, empty when there are none."""
    found = [f"{column} {value} ({figures})" for (column, value), figures in unproven(slices).items()]
    if not found:
        return ""
    return (
        f" Not shown to be good for, with fewer than {FEWEST} fractured or normal test images or an AUROC whose "
        f"interval begins below {LOWEST}: {'; '.join(found)}."
    )
