"""The embedded data set: synthetic radiographs of long bones, intact and fractured, made from a seed.

A picture is a projection: tubes of cortex and marrow in an envelope of soft tissue give a line integral of
attenuation for every pixel, Beer and Lambert turn it into photons, and a logarithm and a window into grey.
A fracture cuts one of the tubes into fragments and moves them. Anatomy, positioning, exposure, quantum noise
and fracture each draw from a random stream of their own, so that one seed with and without a fracture gives
one picture that differs where the bone is broken and nowhere else.
"""

from pipeline.data.sources.synthetic.anatomy import REGIONS, VIEWS
from pipeline.data.sources.synthetic.fracture import TYPES
from pipeline.data.sources.synthetic.radiograph import Radiograph, render
from pipeline.data.sources.synthetic.source import fill

__all__ = ["REGIONS", "TYPES", "VIEWS", "Radiograph", "fill", "render"]
