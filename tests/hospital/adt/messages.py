"""ADT messages as a hospital's feed sends them."""

from collections.abc import Sequence

NAME = "Öztürk^Отто^Ivan^jun.^Dr."
"""A name as an XPN: family, given, further, suffix, prefix."""


def adt(event: str, *segments: str, control: str = "C1", charset: str = "UNICODE UTF-8", kind: str = "ADT") -> str:
    """A message with its header; segments are ended by a carriage return."""
    structure = {"A31": "ADT_A05", "A40": "ADT_A39"}.get(event, "ADT_A01")
    head = (
        f"MSH|^~\\&|HIS|CLINIC|FRACTURE||20261127080000||{kind}^{event}^{structure}|{control}|P|2.5.1|||||DEU|{charset}"
    )
    return "\r".join([head, f"EVN|{event}|20261127080000", *segments]) + "\r"


def pid(patient: str = "4711^^^CLINIC^MR", name: str = NAME, birth: str = "19700102", sex: str = "F") -> str:
    """A PID segment."""
    return f"PID|1||{patient}||{name}||{birth}|{sex}"


def update(patient: str = "4711^^^CLINIC^MR", name: str = NAME, event: str = "A08", **facts: str) -> str:
    """ADT^A08: what is known of a patient has changed."""
    return adt(event, pid(patient, name, **facts), "PV1|1|O")


def merge(survivor: str, *priors: str) -> str:
    """ADT^A40: patients were merged into another one."""
    return adt("A40", *_groups(survivor, priors))


def _groups(survivor: str, priors: Sequence[str]) -> list[str]:
    return [segment for prior in priors for segment in (pid(f"{survivor}^^^CLINIC"), f"MRG|{prior}^^^CLINIC")]
