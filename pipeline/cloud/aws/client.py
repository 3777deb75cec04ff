"""The AWS command line client for one region, and what its errors mean."""

import re
from collections.abc import Callable

from pipeline.cloud.client import Client, Reason
from pipeline.errors import InputError

_REGION = re.compile(r"[a-z]{2,5}(-[a-z]+)+-\d+")


def make_aws_client(region: str, dry: bool = False, show: Callable[[str], None] = print) -> Client:
    """The AWS CLI for one region; InputError when the region's name cannot be one."""
    if not _REGION.fullmatch(region):
        raise InputError(f"--region {region}: is no region's name; write one like eu-central-1")
    return Client(
        program="aws",
        install="install the AWS CLI (version 2 of its makers, or `make cloud-setup` and .venv-cloud/bin on the PATH)",
        options=("--region", region, "--output", "json"),
        reasons=(
            Reason(
                r"(?i)unable to locate credentials|config profile .* could not be found|partial credentials",
                "nobody is logged in to AWS ({said}); run `aws sso login` or `aws configure`, or set AWS_PROFILE",
            ),
            Reason(
                r"(?i)expired|error loading sso token|error when retrieving token from sso",
                "the login to AWS has expired; run `aws sso login` (or whatever you log in with) again",
            ),
            Reason(
                r"InvalidClientTokenId|UnrecognizedClient|AuthFailure|SignatureDoesNotMatch|InvalidAccessKeyId",
                f"AWS does not accept the login in {region}: a wrong key, or a region that is not switched on for the "
                "account ({said})",
            ),
            Reason(
                r"Could not connect to the endpoint|InvalidRegion|(?i:invalid endpoint)|InvalidParameterValue.*region",
                f"--region {region}: no answer; check the region's name and the network",
            ),
            Reason(
                r"AccessDenied|UnauthorizedOperation|not authorized to perform",
                "the login may not do that ({said}); docs/cloud/aws.md lists the rights it needs",
            ),
            Reason(
                r"Throttling|RequestLimitExceeded|Rate exceeded", "AWS is throttling requests ({said}); try again later"
            ),
            Reason(
                r"LimitExceeded|QuotaExceeded|TooMany\w+|(?i:limit (was |has been )?(reached|exceeded))",
                "a quota of the account is used up ({said}); raise it under Service Quotas",
            ),
        ),
        dry=dry,
        show=show,
    )
