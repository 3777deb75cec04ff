"""The row of an answered image, alike for the service and for whoever keeps answers beside it."""

from dataclasses import replace

from serving.predictor import Prediction
from serving.statistics import Reference
from serving.store import features
from serving.store.pseudonyms import Pseudonyms
from serving.store.records import AnswerRecord


def answered(origin: AnswerRecord, prediction: Prediction, reference: Reference, names: Pseudonyms) -> AnswerRecord:
    """`origin`, which says where and when an image came from, with what was answered to it."""
    region = prediction.region
    return replace(
        origin,
        image_sha256=prediction.sha256,
        label=prediction.label,
        probability=prediction.probability,
        threshold=prediction.threshold,
        suspicion=prediction.suspicion,
        region=region.name if region else None,
        region_source=region.source if region else None,
        statistics=prediction.statistics(),
        warnings=[note.code for note in prediction.warnings],
        features=features.packed(features.summarise(prediction.features, reference)),
        patient=names.patient,
        study=names.study,
    )
