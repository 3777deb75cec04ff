"""Buckets and containers; the login comes from the environment, as for the clouds' own clients."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore import exceptions
from obstore.store import AzureStore, ObjectStore, S3Store

from pipeline.archive.addresses import S3, Address
from pipeline.errors import InputError
from serving.errors import one_line

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

_CLIENT: "ClientConfig" = {"connect_timeout": timedelta(seconds=10), "timeout": timedelta(minutes=10)}
_RETRY: "RetryConfig" = {
    "max_retries": 12,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=15), "base": 2},
    "retry_timeout": timedelta(minutes=4),
}
"""503 SlowDown, broken connections and time-outs are tried again, later each time, for up to four minutes."""


def open_store(address: Address) -> ObjectStore:
    """The bucket or container of an address; nothing is asked of it yet. InputError for a broken environment."""
    endpoint, options = _s3_endpoint() if address.scheme == S3 else _azure_options()
    client: ClientConfig = {**_CLIENT, "allow_http": endpoint.startswith("http://")}
    try:
        if address.scheme == S3:
            return S3Store(address.place, client_options=client, retry_config=_RETRY, **options)
        return AzureStore(address.place, client_options=client, retry_config=_RETRY, **options)
    except (exceptions.BaseError, ValueError) as error:
        raise InputError(f"{address.scheme}://{address.place}: cannot be opened ({one_line(error)})") from None


def _s3_endpoint() -> tuple[str, Mapping[str, Any]]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    return endpoint, {"endpoint": endpoint} if endpoint else {}


def _azure_options() -> tuple[str, Mapping[str, Any]]:
    """From AZURE_STORAGE_CONNECTION_STRING or the single variables, of which the account may have its short name."""
    fields = dict(
        part.split("=", 1) for part in os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "").split(";") if "=" in part
    )
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "BlobEndpoint": "endpoint",
        "SharedAccessSignature": "sas_key",
    }
    options = {option: fields[name] for name, option in names.items() if fields.get(name)}
    if "account_name" not in options and (account := os.environ.get("AZURE_STORAGE_ACCOUNT")):
        options["account_name"] = account
    return options.get("endpoint", os.environ.get("AZURE_STORAGE_ENDPOINT", "")), options


_STATUS = re.compile(r"status code: (\d{3}[A-Za-z ]*)")
_CODE = re.compile(r"<Code>(\w+)</Code>")


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Turn what a store says into one line that names `place`; a missing object keeps its own error."""
    try:
        yield
    except (FileNotFoundError, exceptions.NotFoundError):
        raise
    except (exceptions.BaseError, PermissionError) as error:
        advice = {
            exceptions.UnauthenticatedError: "the login is not accepted; check the variables of the cloud",
            exceptions.PermissionDeniedError: "the login may not do that; check its rights",
            PermissionError: "the login may not do that; check its rights",
        }.get(type(error))
        raise InputError(f"{place}: {advice or f'the store does not answer ({reason(error)})'}") from None


def reason(error: BaseException) -> str:
    """What a store said, in one line without addresses: they may hold signatures."""
    text = str(error)
    found = [match[1] for pattern in (_STATUS, _CODE) if (match := pattern.search(text))]
    return ": ".join(found) or one_line(text.split("\n", 1)[0].split(" http", 1)[0], 120) or type(error).__name__
