"""`python deploy/ray/certificates.py CIDR FOLDER`: the certificate that all nodes of a Ray cluster share.

Ray checks that the address of a node stands in its certificate, and nodes come and go: so the certificate names every
address of the network that they start in, at most 1,024. Whoever has the key can join; the key of the authority that
signed it is thrown away. Needs the program `openssl`.
"""

import argparse
import ipaddress
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MOST_ADDRESSES = 1024
"""More make a certificate that no longer fits into a handshake."""
DAYS = 30
FILES = ("ca.crt", "tls.crt", "tls.key")


def addresses(network: str) -> list[str]:
    """Every address of a network that a node may have, and the loopback's; ValueError for one that is too large."""
    found = ipaddress.ip_network(network)
    if found.num_addresses > MOST_ADDRESSES:
        raise ValueError(f"{network}: has more than {MOST_ADDRESSES} addresses; give the nodes a subnet of their own")
    return sorted({"127.0.0.1", *map(str, found.hosts())})


def make(network: str, folder: Path) -> None:
    """Write `FILES` into a folder that only you can read; an older certificate is replaced."""
    names = ",".join(["DNS:localhost", *(f"IP:{address}" for address in addresses(network))])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        made = Path(temporary)
        (made / "names").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        _openssl(
            made,
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.crt",
            "-subj",
            "/CN=ray-authority",
            "-days",
            str(DAYS),
        )
        _openssl(
            made,
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "tls.key",
            "-out",
            "request",
            "-subj",
            "/CN=ray-node",
        )
        _openssl(
            made,
            "x509",
            "-req",
            "-in",
            "request",
            "-CA",
            "ca.crt",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "tls.crt",
            "-days",
            str(DAYS),
            "-extfile",
            "names",
        )
        for name in FILES:
            (made / name).chmod(0o600)
            (made / name).replace(folder / name)


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607  our own words


def main(given: Sequence[str] | None = None) -> None:
    """Read the arguments and write the files; bad ones end with one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", metavar="CIDR", help="the nodes' subnet, like 10.0.3.0/24")
    parser.add_argument("folder", metavar="FOLDER", type=Path)
    asked = parser.parse_args(given)
    try:
        make(asked.network, asked.folder)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: openssl: {error.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    print(f"{asked.folder}: {', '.join(FILES)}, valid for {DAYS} days")


if __name__ == "__main__":
    main()
