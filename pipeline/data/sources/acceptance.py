"""Which files of the user's go into a data set: those that the service would let its network look at."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from serving import intake
from serving.errors import ImageError
from serving.http.settings import Settings
from serving.imaging import decode
from serving.scope import REGIONS, Scope

_VARIABLES = ("FRACTURE_MAX_PIXELS", "FRACTURE_MAX_FRAMES", "FRACTURE_SCOPE")


def _of_the_service() -> Settings:
    """The service's limits on one image; its other variables are not looked at."""
    return Settings.from_environment({name: os.environ[name] for name in _VARIABLES if name in os.environ})


@dataclass(frozen=True)
class Acceptance:
    """What the service's limits are, and of which `regions` images are wanted beside those that it knows itself."""

    regions: Iterable[str] = ()
    settings: Settings = field(default_factory=_of_the_service)

    @classmethod
    def of(cls, regions: Iterable[str], scope: str = "") -> Self:
        """With the environment's limits; `scope`, refuse or warn, stands for FRACTURE_SCOPE."""
        found = cls(regions)
        return replace(found, settings=replace(found.settings, scope=scope or found.settings.scope))

    @cached_property
    def scope(self) -> Scope:
        """What the header of a file may name."""
        return Scope.for_regions(sorted({*REGIONS, *filter(None, self.regions)}))

    @property
    def fingerprint(self) -> str:
        """What stands for all that decides."""
        limits = self.settings
        decides = (self.scope.terms.text(), limits.scope, limits.max_pixels, limits.max_frames)
        return hashlib.sha256(repr(decides).encode()).hexdigest()[:12]

    def out_of_scope(self, content: bytes) -> str:
        """What the header of a file names that no data set is wanted of; empty where it is nothing, or may be taken."""
        if self.settings.scope == "warn":
            return ""
        try:
            return self.scope.reason(decode.inspect(content, self.settings.max_pixels))
        except ImageError:
            return ""

    def problem(self, content: bytes) -> str:
        """Why the service refuses a file before its network looks, in words that follow its name; else empty."""
        error = self.refusal(content)
        return f"the service refuses ({error.code}: {error.message})" if error else ""

    def refusal(self, content: bytes) -> ImageError | None:
        """The error with which the service refuses a file before its network looks; None for one that it takes."""
        limits = self.settings
        try:
            intake.check_file(
                content,
                self.scope,
                max_pixels=limits.max_pixels,
                max_frames=limits.max_frames,
                warn_of_scope=limits.scope == "warn",
            )
        except ImageError as error:
            return error
        return None
