"""
The faults that a server of the local network can be given.

A fault is written `name` or `name:argument`, for one server `3=silent`, for several
`0-11=delay:0.5` or `*=status:242`, and several at once `3=delay:0.2,drop-reply`. Faults of
one server add up; the same name given twice keeps the last argument.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from lockers.raida.statuses import RAIDA_COUNT

# What each fault does, in the order in which it affects a request; shown by `raidanet --help`.
FAULTS: Final[dict[str, str]] = {
    "down": "nothing listens on the port until cleared",
    "silent": "reads the request, does nothing and never answers",
    "late": "late:SECONDS — the request waits that long before the work begins",
    "status": "status:N — answers with status N and does not do the work",
    "crash-before": "dies at the next request, before the work; cleared, it starts again from disk",
    "wrong-secret": "holds another secret than it should for every coin while the fault lasts",
    "crash": "does the work of the next request and dies unanswered; cleared, it starts again from disk",
    "drop-reply": "does the work and does not answer",
    "garbage": "does the work and answers with random bytes",
    "truncate": "does the work and sends half of the answer",
    "huge": "does the work and announces an answer of 16 MiB",
    "wrong-id": "does the work and answers with another server's number",
    "wrong-echo": "does the work and answers with another echo",
    "wrong-signature": "does the work and answers with another signature",
    "stale": "does the work and sends another request's answer before the right one (UDP)",
    "twice": "does the work and sends the answer twice (UDP)",
    "delay": "delay:SECONDS — does the work at once and answers that much later",
    "hold": "does the work at once and answers when the fault is cleared",
    "restart": "restarts at once: tickets are lost, lockers are found again",
    "forget": "restarts at once as real servers do: tickets and all lockers are forgotten",
}

# These happen once, when they are set.
MOMENTARY: Final = frozenset({"restart", "forget"})

_SECONDS: Final = frozenset({"late", "delay"})


class InvalidFault(ValueError):
    """A text is not a fault, or not a server."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A name of `FAULTS`, with seconds or a status if it needs one."""

    name: str
    argument: float | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}:{self.argument:g}"


def parse_fault(text: str) -> Fault:
    """
    The fault in a text such as `delay:0.5`.

    :raises InvalidFault: it names none
    """
    name, separator, rest = text.strip().partition(":")
    if name not in FAULTS:
        raise InvalidFault(f"{name!r} is no fault; there are: {', '.join(FAULTS)}")
    if name not in _SECONDS and name != "status":
        if separator:
            raise InvalidFault(f"{name} takes no argument")
        return Fault(name)
    try:
        number = float(rest)
    except ValueError:
        raise InvalidFault(f"{name} needs a number, as in {name}:{'242' if name == 'status' else '0.5'}") from None
    if name == "status" and not (number.is_integer() and 0 <= number <= 255):
        raise InvalidFault("a status is 0 to 255")
    if name in _SECONDS and not 0 <= number <= 3600:
        raise InvalidFault(f"{name} takes seconds, at most an hour")
    return Fault(name, number)


def parse_assignment(text: str) -> list[tuple[int, Fault]]:
    """
    Which servers get which faults, of a text such as `0-2=silent` or `*=delay:0.1,drop-reply`.

    :raises InvalidFault: it does not read so
    """
    servers, separator, names = text.partition("=")
    if not separator:
        raise InvalidFault(f"{text!r} does not read like 3=silent")
    faults = [parse_fault(name) for name in names.split(",")]
    return [(raida, fault) for raida in parse_servers(servers) for fault in faults]


def parse_servers(text: str) -> Iterable[int]:
    """
    The servers in a text such as `3`, `0-11` or `*`.

    :raises InvalidFault: it names a server that there is not
    """
    text = text.strip()
    if text == "*":
        return range(RAIDA_COUNT)
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        raise InvalidFault(f"{text!r} is neither a server's number, nor a range such as 0-11, nor *")
    chosen = range(int(first), int(last or first) + 1)
    if not chosen or chosen[-1] >= RAIDA_COUNT:
        raise InvalidFault(f"servers are numbered 0 to {RAIDA_COUNT - 1}")
    return chosen
