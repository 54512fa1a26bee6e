"""
Collects the static files that WhiteNoise serves, once per version of the code.

A stamp file beside them, written last, holds a digest of requirements.txt and of Coppice's own static files.
"""

import fcntl
import hashlib
import os
from pathlib import Path

from django.conf import settings
from django.core.management import call_command

from config.environment import ROOT


def are_current() -> bool:
    """Return whether the collected files are those of this code."""
    try:
        return _stamp().read_text(encoding="utf-8") == _state()
    except FileNotFoundError:
        return False


def collect() -> bool:
    """
    Collect them unless they are current, and return whether they were collected.

    The directory is locked: installations with several state directories may share one checkout.

    :raises OSError: the directory cannot be written
    """
    if are_current():
        return False
    _stamp().parent.mkdir(exist_ok=True)
    descriptor = os.open(_stamp().parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if are_current():
            return False
        call_command("collectstatic", interactive=False, clear=True, verbosity=0, skip_checks=True)
        _stamp().write_text(_state(), encoding="utf-8")
    finally:
        os.close(descriptor)
    return True


def _stamp() -> Path:
    return Path(settings.STATIC_ROOT) / ".collected"


def _state() -> str:
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    for path in sorted(ROOT.glob("config/*/static/**/*")):
        if path.is_file():
            digest.update(f"{path.relative_to(ROOT)} ".encode() + path.read_bytes())
    return digest.hexdigest()
