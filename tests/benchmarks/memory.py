"""The memory of processes, from /proc. Linux only."""

import contextlib
from pathlib import Path


def family(root: int) -> set[int]:
    """Return the ids of the process and its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1]
                )
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def proportional(root: int) -> int:
    """Return the bytes of the process and its descendants; a page that several processes share counts once."""
    return sum(_sum(pid, "Pss") for pid in family(root))


def private(pid: int) -> int:
    """Return the bytes that this process alone has: of a server process of PostgreSQL, all but the shared buffers."""
    return _sum(pid, "Private_Clean") + _sum(pid, "Private_Dirty")


def _sum(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
