"""The table [adt] of hospital.toml."""

import ipaddress

from pydantic import Field, model_validator

from hospital.sections import Address, Host, Listed, Port, Section, Tls, is_loopback


class Adt(Section):
    """The port that takes HL7 v2 ADT over MLLP; without the table there is none."""

    host: Host = "127.0.0.1"  # another address needs `tls`
    port: Port = 2576
    addresses: Listed[Address] = ()  # that may connect; all, where none are named
    tls: Tls | None = None
    authority: str = Field(default="", max_length=227)  # CX-4 of the Patient IDs that images bear; "": the first one
    max_connections: int = Field(default=8, ge=1, le=64)
    idle_seconds: float = Field(default=600, gt=0, le=86400)  # without a byte, then the connection ends
    max_message_kb: int = Field(default=256, ge=1, le=65536)

    @model_validator(mode="after")
    def _open_needs_certificates(self) -> "Adt":
        if not is_loopback(self.host) and self.tls is None:
            raise ValueError(f"{self.host} is open to other machines and needs [adt.tls]")
        return self

    def takes(self, address: str) -> bool:
        """Whether `address` may connect."""
        if not self.addresses:
            return True
        found = ipaddress.ip_address(address)
        return any(found in ipaddress.ip_network(network) for network in self.addresses)
