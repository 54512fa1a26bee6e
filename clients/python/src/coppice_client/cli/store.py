"""
Where the command line keeps its profiles: addresses, API keys and bearer tokens.

One file of mode 0600 has the profiles. The secrets of a profile are in the keyring of the desktop, if there is one, and
else in this file.
"""

import importlib
import importlib.util
import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import click

_SERVICE: Final = "coppice"


class StoreError(click.ClickException):
    """The profiles cannot be read or written."""


@dataclass(frozen=True)
class Profile:
    """An installation and the credentials for it."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)


def place() -> Path:
    return Path(click.get_app_dir("coppice")) / "profiles.json"


def load(name: str) -> Profile | None:
    """
    Return a profile, or None if there is none.

    :raises StoreError: the file is open to others or damaged, or the keyring fails
    """
    entry = _read().get(name)
    if entry is None:
        return None
    kept = entry.get("secrets")
    if kept is None:
        kept = _from_keyring(name)
    return Profile(entry["url"], kept.get("api_key"), kept.get("token"))


def save(name: str, profile: Profile, *, in_keyring: bool) -> None:
    """Store a profile, in place of an earlier one."""
    kept = {"api_key": profile.api_key, "token": profile.token}
    profiles = _read()
    if in_keyring:
        keyring = _keyring()
        try:
            keyring.set_password(_SERVICE, name, json.dumps(kept))
        except keyring.errors.KeyringError as error:
            raise StoreError(f"The keyring refuses: {type(error).__name__}. Use --store file") from None
        profiles[name] = {"url": profile.url}
    else:
        profiles[name] = {"url": profile.url, "secrets": kept}
    _write(profiles)


def delete(name: str) -> bool:
    """Delete a profile and its secrets. Return whether there was one."""
    profiles = _read()
    entry = profiles.pop(name, None)
    if entry is None:
        return False
    if "secrets" not in entry:
        keyring = _keyring()
        try:
            if keyring.get_password(_SERVICE, name) is not None:
                keyring.delete_password(_SERVICE, name)
        except keyring.errors.KeyringError as error:
            raise StoreError(f"The keyring refuses: {type(error).__name__}") from None
    _write(profiles)
    return True


def has_keyring() -> bool:
    """Return whether there is a keyring that can store a secret."""
    if importlib.util.find_spec("keyring") is None:
        return False
    # A backend that refuses or forgets everything has no positive priority.
    return bool(_keyring().get_keyring().priority > 0)


def _keyring() -> Any:
    # Imported when it is needed: it looks for the backends of all desktops.
    try:
        return importlib.import_module("keyring")
    except ModuleNotFoundError:
        raise StoreError("The token is in a keyring: pip install 'coppice-client[keyring]', or log in again") from None


def _from_keyring(name: str) -> dict[str, str | None]:
    keyring = _keyring()
    try:
        kept = keyring.get_password(_SERVICE, name)
    except keyring.errors.KeyringError as error:
        raise StoreError(f"The keyring cannot be read: {type(error).__name__}") from None
    return {} if kept is None else dict(json.loads(kept))


def _read() -> dict[str, Any]:
    path = place()
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077 and os.name == "posix":
                raise StoreError(f"Others may read {path}: run chmod 600 on it, and log in again")
            profiles = json.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read: {type(error).__name__}") from None
    if not isinstance(profiles, dict):
        raise StoreError(f"{path} cannot be read: it has no profiles")
    return profiles


def _write(profiles: dict[str, Any]) -> None:
    path = place()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # In one step, so that an interruption leaves the earlier file.
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        write_secret(temporary, json.dumps(profiles, indent=2).encode())
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from None


def write_secret(path: Path, content: bytes) -> None:
    """
    Write a new file that its owner alone may read, and return when it is on the disk. A failure leaves no file.

    :raises FileExistsError: the file exists
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink()
        raise
    if os.name == "posix":
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
