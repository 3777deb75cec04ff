"""A folder of class-named folders, the layout users have."""

from pipeline.data.sources.folder.search import order_classes
from pipeline.data.sources.folder.source import fill

__all__ = ["fill", "order_classes"]
