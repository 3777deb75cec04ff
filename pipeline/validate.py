"""Stage validate: whether a data set is fit to train on, and if not, which files are to blame.

Great Expectations judges three tables: one row per image, one per class, one per feature that might give the
label away. `params.yaml` (validate.offenders) says what an offending image leads to.

The images of a set that is too large for one machine are read by a Ray cluster (docs/archive.md):

    python -m pipeline.validate --engine ray --address HOST:PORT

FRACTURE_ENGINE, FRACTURE_RAY_ADDRESS and FRACTURE_ACTORS say the same where `dvc repro` runs the stage.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline import params
from pipeline.artifacts import Artifacts
from pipeline.data import engine, input_heads, layout, pixel_cache
from pipeline.data.data_docs import publish
from pipeline.data.families.sheets import write_sheets
from pipeline.data.images import FolderImages
from pipeline.data.validation.expectations import Judge
from pipeline.data.validation.verdict import judge_data, summary_html
from pipeline.errors import InputError, exit_with_line
from pipeline.files import atomic_folder, write_text


def main(arguments: Sequence[str] = ()) -> None:
    """Read data/, write reports/images.csv, reports/validation.json and reports/data_docs/."""
    chosen = engine.engine_of(arguments, __doc__)
    paths = Artifacts()
    options = params.load(paths.params)
    preprocessing, heads = input_heads.chosen(options.preprocess)
    data = layout.read(paths.data)
    scratch = Path(tempfile.mkdtemp(prefix="fracture-validate-"))
    try:
        judge = Judge(scratch)
        with engine.opened(data, chosen, paths.blocks / "validate") as elsewhere:
            if elsewhere:
                verdict = judge_data(data, options.validate_, judge, images=elsewhere)
            else:
                with pixel_cache.filling(preprocessing, paths.pixel_cache, heads) as writer:
                    verdict = judge_data(data, options.validate_, judge, writer)
            with atomic_folder(paths.data_docs) as docs:
                reader = elsewhere or FolderImages(data)
                pictures = write_sheets(reader.read, verdict.report.families, docs)
                publish(judge.pages(), summary_html(verdict), docs, pictures)
            if elsewhere and not verdict.failures:
                elsewhere.forget()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    verdict.report.write(paths.validation)
    for line in verdict.warnings:
        print(f"warning: {line}")
    if verdict.failures:
        raise InputError("\nerror: ".join(verdict.failures))
    write_text(paths.images, verdict.table.to_csv(index=False, lineterminator="\n"))
    print(f"validated {verdict.report.images} images, {verdict.report.usable} usable; see {paths.data_docs}")


if __name__ == "__main__":
    exit_with_line(lambda: main(sys.argv[1:]))
