"""The private folder of a data set: the only place that holds original names."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from pipeline.data.layout import read_table
from pipeline.data.sources.folder.records import Entry
from pipeline.errors import InputError
from pipeline.files import atomic_file, write_text


class Private:
    """The private folder of a data set: which image and which patient is behind a pseudonym (mode 0600)."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.names = folder / f"{name}-names.csv"
        self.refused = f"{name}-refused.csv"

    def prepare(self) -> None:
        """Make the folder, which git ignores and its owner alone can read."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(self.folder / ".gitignore", "*\n")

    def write(self, file: str, table: pd.DataFrame) -> Path:
        """Write a table that only its owner can read, whole or not at all."""
        self.prepare()
        target = self.folder / file
        with atomic_file(target) as partial:
            partial.chmod(0o600)
            table.to_csv(partial, index=False, lineterminator="\n")
        return target

    def refuse(self, reasons: Mapping[str, str]) -> InputError:
        """The error for files that cannot be used, which lists them in the private folder only."""
        target = self.write_refused(reasons)
        first = min(reasons.items())[1]
        several = f"{len(reasons)} files" if len(reasons) > 1 else "a file"
        return InputError(f"{several} cannot be used (the first {first}); move what {target} lists out of the folder")

    def write_refused(self, reasons: Mapping[str, str]) -> Path:
        """Write the table of files that cannot be used, sorted by name."""
        return self.write(self.refused, pd.DataFrame(sorted(reasons.items()), columns=["file", "reason"]))

    def known(self) -> pd.DataFrame:
        """The table written before, so that a patient keeps the pseudonym; empty when there is none."""
        columns = ["image_id", "original", "patient_id", "original_patient_id", "study_id", "original_study_id"]
        if not self.names.is_file():
            return pd.DataFrame(columns=columns, dtype=str)
        return read_table(self.names, columns)[columns]

    def write_names(self, entries: Iterable["Entry"]) -> Path:
        """Write the table from id to original name; rows of images that left the data set are kept."""
        rows = [
            {
                "image_id": entry.image_id,
                "original": entry.original,
                "patient_id": entry.columns.get("patient_id", ""),
                "original_patient_id": entry.originals.get("patient_id", ""),
                "study_id": entry.columns.get("study_id", ""),
                "original_study_id": entry.originals.get("study_id", ""),
            }
            for entry in entries
        ]
        known = self.known()
        kept = known[~known["image_id"].isin([row["image_id"] for row in rows])]
        table = pd.concat([kept, pd.DataFrame(rows, columns=kept.columns)]).sort_values("image_id", kind="stable")
        (self.folder / self.refused).unlink(missing_ok=True)
        return self.write(self.names.name, table)
