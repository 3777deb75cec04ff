"""What `fracture score` wrote, as the window of time that `fracture monitor` reports on."""

from datetime import UTC, datetime

from pipeline.archive import answers
from pipeline.monitoring.window import Window
from serving.bundle import Bundle
from serving.store.records import AnswerRecord

_COLUMNS = (*answers.OF_DRIFT, "sha256", "label", "threshold", "suspicion", "region", "region_source", "warnings")


def read_window(source: str, opened: Bundle) -> Window:
    """The answers of a scoring as if a store held them, without times, sites, features and readers.

    `source` is a place with a scoring, or one Parquet file of it; at most about 200,000 rows are taken. The version
    of a model is known for that of the bundle alone. InputError for what holds no answers.
    """
    now, manifest = datetime.now(UTC), opened.manifest
    records = []
    for row in answers.sampled(source, _COLUMNS):
        is_ours, refused = row["model_sha256"] == opened.sha256, row["error_code"]
        records.append(
            AnswerRecord(
                answer_id=row["id"],
                at=now,
                request_id="",
                route="",
                site="",
                caller="",
                model_name=manifest.name if is_ours else "",
                model_version=manifest.version if is_ours else "",
                model_sha256=row["model_sha256"],
                refused=refused,
                image_sha256=row["sha256"],
                label=row["label"],
                probability=row["probability"],
                threshold=row["threshold"],
                suspicion=row["suspicion"],
                region=row["region"],
                region_source=row["region_source"],
                statistics=None if refused else answers.inputs(row),
                warnings=row["warnings"],
            )
        )
    return Window(now, now, records, {}, scoring=source)
