"""ECR, where the service's images lie: a stack of its own, made before the first push."""

import base64
from dataclasses import dataclass

from pipeline.cloud.aws import cloudformation
from pipeline.cloud.aws.cloudformation import Stack, Wish
from pipeline.cloud.client import Client, RefusedError
from pipeline.cloud.push import Login

USER = "AWS"
"""The user that goes with every token of ECR."""


@dataclass
class Ecr:
    """The service's repository in one account and region."""

    client: Client
    host: str
    name: str
    wish: Wish  # of its stack
    stack: Stack | None  # as it was found
    pause: float

    listing = "aws ecr describe-images"

    @property
    def repository(self) -> str:
        """What an image's address begins with, without its tag."""
        return f"{self.host}/{self.name}"

    @property
    def left_behind(self) -> str:
        """What stays, and costs, when a later step fails."""
        return (
            f"the registry {self.wish.name} stays with its images (0.10 USD a GB and month), for the next try or "
            "until --delete"
        )

    def digest(self, tag: str) -> str | None:
        """The digest of a pushed image, None when there is no such tag."""
        if self.stack is None:
            return None
        try:
            answer = self.client.read(
                "ecr", "describe-images", "--repository-name", self.name, "--image-ids", f"imageTag={tag}"
            )
        except RefusedError as error:
            if "NotFoundException" in error.said:
                return None
            raise
        return str(answer["imageDetails"][0]["imageDigest"])

    def make(self) -> None:
        """Make or update its stack; in a dry run show how."""
        self.stack = cloudformation.apply(self.client, self.stack, self.wish, self.pause)

    def login(self) -> Login:
        """A login from a token: `get-login-password` prints no JSON."""
        token = self.client.read("ecr", "get-authorization-token", "--query", "authorizationData[0].authorizationToken")
        return Login(self.host, USER, base64.b64decode(token).decode().partition(":")[2])
