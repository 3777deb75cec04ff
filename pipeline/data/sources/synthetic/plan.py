"""Which pictures a data set holds: patients, regions, views, and fractures that nothing else gives away."""

from dataclasses import dataclass

import numpy as np

from pipeline.data.sources.synthetic.anatomy import REGIONS, VIEWS
from pipeline.data.sources.synthetic.fracture import TYPES
from pipeline.data.sources.synthetic.radiograph import HARDWARE_SHARE
from pipeline.data.sources.synthetic.streams import STREAMS

CLASSES = {"binary": ("normal", "fractured"), "types": ("normal", *TYPES)}
FRACTURED_SHARE = {"binary": 0.45, "types": 0.75}


@dataclass(frozen=True)
class Plan:
    """One picture of the data set before it is made; `person` seeds the patient, `seed` the picture."""

    patient: int
    person: int
    seed: int
    region: str
    view: str
    fracture: str | None
    laterality: str
    hardware: bool


def draw_plans(count: int, seed: int, classes: str) -> list[Plan]:
    """Decide patients, regions, views and fractures; nothing but the fracture depends on the label.

    Patients come in rounds of one for each region, and patients of one region with as many pictures are owed
    fractures in turn, the sides alternate, so that neither region, number of pictures nor side gives the label away.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, len(STREAMS)])))
    plans: list[Plan] = []
    owed = {(region, size): float(rng.random()) for region in REGIONS for size in (1, 2, 3)}
    kinds: list[str] = []
    sides = [0, 0]
    patient = 0
    while len(plans) < count:
        for region in (REGIONS[i] for i in rng.permutation(len(REGIONS))):
            patient += 1
            person = int(rng.integers(2**62))
            views = [VIEWS[i] for i in rng.permutation(len(VIEWS))[: rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15])]]
            metal = bool(rng.random() < HARDWARE_SHARE)
            group = (region, len(views))
            owed[group] += FRACTURED_SHARE[classes]
            fracture = None
            if owed[group] >= rng.uniform(0.5, 1.5):
                owed[group] -= 1
                kinds = kinds or [TYPES[i] for i in rng.permutation(len(TYPES))]
                fracture = kinds.pop()
            sides[fracture is None] += 1
            side = "LR"[sides[fracture is None] % 2]
            plans += [
                Plan(patient, person, int(rng.integers(2**62)), region, view, fracture, side, metal) for view in views
            ]
    return [plans[i] for i in rng.permutation(count)]
