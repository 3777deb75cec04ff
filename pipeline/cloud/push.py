"""Push an image to a registry with whichever container tool is installed."""

import shutil
from dataclasses import dataclass

from pipeline.errors import InputError
from pipeline.programs import last_line, run

TOOLS = ("docker", "podman", "buildah")
_PUSH_SECONDS = 3600.0
_INFO_SECONDS = 60.0


def find_tool() -> str:
    """The first of docker, podman and buildah that is there and works; InputError when there is none."""
    said = []
    for name in TOOLS:
        if shutil.which(name):
            done = run([name, "info"], seconds=_INFO_SECONDS)
            if done.returncode == 0:
                return name
            said.append(f"{name}: {last_line(done.stderr or done.stdout)}")
    reason = f" ({'; '.join(said)})" if said else ""
    raise InputError(f"none of {', '.join(TOOLS)} works here{reason}; one of them has to build and push the image")


@dataclass(frozen=True)
class Login:
    """How a registry lets one in; the password goes to the tool's standard input and is never shown."""

    host: str
    user: str
    password: str


def commands(tool: str, address: str, login: Login) -> tuple[list[str], list[str], list[str]]:
    """The argument lists that log in, push and log out."""
    return (
        [tool, "login", "--username", login.user, "--password-stdin", login.host],
        [tool, "push", address],
        [tool, "logout", login.host],
    )


def push(tool: str, address: str, login: Login) -> None:
    """Push a local image to the address it is named by; the login is forgotten afterwards. InputError."""
    come, put, leave = commands(tool, address, login)
    done = run(come, login.password)
    if done.returncode:
        raise InputError(f"{tool} login {login.host}: {last_line(done.stderr or done.stdout)}")
    try:
        done = run(put, seconds=_PUSH_SECONDS)
        if done.returncode:
            raise InputError(f"{tool} push {address}: {last_line(done.stderr or done.stdout)}")
    finally:
        run(leave)
