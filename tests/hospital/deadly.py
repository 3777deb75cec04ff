"""A gateway that one kind of image ends, with everything in it: as one does that takes all memory."""

import os
import signal
import sys

from hospital import cli, gateway
from hospital.scoring import ModelFacts, Scored
from serving.errors import ImageError

DEADLY = "deadly"
"""Study Description of the image that ends the process; others get no answer."""


class _Scorer:
    """No model: nothing is looked at but whether an image is deadly."""

    model = ModelFacts("none", "0", "0" * 64, ())
    at_once = 1

    def score(self, content: bytes) -> Scored:
        if DEADLY.encode() in content:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ImageError("out_of_scope", "the model is not for it")

    def close(self) -> None:
        """Keep nothing."""


if __name__ == "__main__":
    gateway.open_scorer = lambda *_: _Scorer()
    sys.exit(cli.main(sys.argv[1:]))
