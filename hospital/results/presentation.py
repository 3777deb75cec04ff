"""Grayscale softcopy presentation states with the boxes as graphics (PS3.3, A.33.1)."""

import numpy as np
from highdicom import PresentationLUTTransformation
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GraphicTypeValues,
    GrayscaleSoftcopyPresentationState,
    TextObject,
)

from hospital.results.equipment import finish
from hospital.results.source import laterality
from hospital.results.version import NOT_A_DIAGNOSIS, Edition, Made, View
from serving.http.schemas import Box

ROLE = "presentation"
_LAYER = "FRACTURE"


def make(edition: Edition) -> list[Made]:
    """One presentation state for each grey view with boxes."""
    return [
        _state(edition, view, number)
        for number, view in enumerate(edition.views, 1)
        if view.boxes and int(view.source.header.get("SamplesPerPixel", 1)) == 1
    ]


def _state(edition: Edition, view: View, number: int) -> Made:
    header = view.source.header
    layer = GraphicLayer(_LAYER, order=1, description=NOT_A_DIAGNOSIS)
    annotation = GraphicAnnotation(
        referenced_images=[header],
        graphic_layer=layer,
        graphic_objects=[_outline(view, box) for box in view.boxes],
        text_objects=[_words(view)],
    )
    inverse = header.PhotometricInterpretation == "MONOCHROME1"
    state = GrayscaleSoftcopyPresentationState(
        referenced_images=[header],
        series_instance_uid=edition.uid("presentation series"),
        series_number=edition.settings.series_number + 2,
        sop_instance_uid=edition.uid(f"{ROLE} {header.SOPInstanceUID}"),
        instance_number=number,
        manufacturer=edition.settings.manufacturer,
        manufacturer_model_name=edition.model.name,
        software_versions=edition.model.version,
        device_serial_number=edition.model.digest[:16],
        content_label="FRACTURE",
        content_description=NOT_A_DIAGNOSIS,
        graphic_annotations=[annotation],
        graphic_layers=[layer],
        # MONOCHROME1 shows its lowest value white (PS3.3, C.11.6.1.2).
        presentation_lut_transformation=PresentationLUTTransformation(
            presentation_lut_shape="INVERSE" if inverse else "IDENTITY"
        ),
        specific_character_set="ISO_IR 192",
    )
    state.Laterality = laterality(header)
    state.ContentQualification = "RESEARCH"
    state.PresentationCreationDate = edition.made_at.strftime("%Y%m%d")
    state.PresentationCreationTime = edition.made_at.strftime("%H%M%S.%f")
    return Made(ROLE, finish(state, edition, "Fracture boxes"))


def _outline(view: View, box: Box) -> GraphicObject:
    """A closed line in pixels; the first pixel's corner is (1, 1) in its image (PS3.3, C.10.5.1.2)."""
    width, height = int(view.source.header.Columns), int(view.source.header.Rows)
    corners = [(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1), (box.x0, box.y0)]
    points = np.array([(_pixel(x, width), _pixel(y, height)) for x, y in corners])
    return GraphicObject(GraphicTypeValues.POLYLINE, points, units="PIXEL", is_filled=False)


def _pixel(fraction: float, size: int) -> float:
    return min(float(size), max(1.0, fraction * size))


def _words(view: View) -> TextObject:
    text = f"{view.answer.probability:.0%} {NOT_A_DIAGNOSIS}"
    return TextObject(text, units="DISPLAY", bounding_box=(0.02, 0.9, 0.98, 0.98))
