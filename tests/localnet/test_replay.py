"""The local network answers as the recorded servers did, apart from a few listed defects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lockers.raida.frames import HEADER_SIZE
from lockers.raida.statuses import Status
from tests.localnet.recording import ADMIN_KEY, Played, Recorded, Reenactment, recorded_exchanges
from tests.support.local_network import LocalNetwork

THEFT_BY_DUPLICATE = (
    "a coin listed twice cancels out of the sum, so anybody could take it: refused, it stays its owner's"
)
THEFT_BY_OLD_KEY = (
    "the recorded server takes coins by the key of a locker that they have left by another way: "
    "refused, they stay where they went"
)

# What we answer instead: status, payload, why. `legacy_bugs` gives the recorded answers here too.
REFUSED_TO_COPY = {
    "server:remove_old_key_after_move raida 0": (Status.ALL_FAIL, "00", THEFT_BY_OLD_KEY),
    "server:detect_key2 raida 0": (Status.ALL_PASS, "", THEFT_BY_OLD_KEY),
    "server:detect_77 raida 0": (Status.ALL_FAIL, "", THEFT_BY_OLD_KEY),
    "server:vec_remove_enc0 raida 0": (Status.MIXED, "04", THEFT_BY_OLD_KEY),
    "server:vec_detect raida 0": (Status.MIXED, "04", THEFT_BY_OLD_KEY),
    "server:remove_after_pown_out raida 2": (Status.ALL_FAIL, "00", THEFT_BY_OLD_KEY),
    "server:detect_owner raida 2": (Status.ALL_PASS, "", THEFT_BY_OLD_KEY),
    "server:put_duplicate_coin_zero_sum raida 9": (Status.ALL_FAIL, "", THEFT_BY_DUPLICATE),
    "server:peek_dup raida 9": (Status.ALL_FAIL, "", THEFT_BY_DUPLICATE),
    "server:owner_detect_after_dup raida 9": (Status.ALL_PASS, "", THEFT_BY_DUPLICATE),
    "server:remove_dup_restoring_owner raida 9": (Status.ALL_FAIL, "", THEFT_BY_DUPLICATE),
    "server:peek_dup_after raida 9": (Status.ALL_FAIL, "", THEFT_BY_DUPLICATE),
    "server:detect_sum_dup raida 9": (Status.ALL_FAIL, "", THEFT_BY_DUPLICATE),
}

EXCHANGES = recorded_exchanges()
LOGS = sorted({recorded.log for recorded in EXCHANGES})


def exchanges_of(log: str) -> list[Recorded]:
    return [recorded for recorded in EXCHANGES if recorded.log == log]


def play(log: str, directory: Path, *, legacy_bugs: bool) -> Iterator[Played]:
    with LocalNetwork(directory, base_port=0, admin_key=ADMIN_KEY, legacy_bugs=legacy_bugs) as network:
        reenactment = Reenactment(network)
        for recorded in exchanges_of(log):
            yield reenactment.play(recorded)


def shown(played: Played) -> str:
    return f"{played.recorded.name}\n  recorded {played.expected.hex()}\n  ours     {played.got.hex()}"


def test_every_recorded_exchange_is_played_once() -> None:
    assert len(EXCHANGES) == 187
    assert sum(len(exchanges_of(log)) for log in LOGS) == 187
    assert {recorded.name for recorded in EXCHANGES} >= REFUSED_TO_COPY.keys()


@pytest.mark.parametrize("log", LOGS)
def test_with_its_defects_the_network_answers_as_recorded(log: str, tmp_path: Path) -> None:
    different = [shown(played) for played in play(log, tmp_path, legacy_bugs=True) if not played.is_same]

    assert different == []


@pytest.mark.parametrize("log", LOGS)
def test_the_network_answers_as_recorded_but_for_the_defects(log: str, tmp_path: Path) -> None:
    different = [played for played in play(log, tmp_path, legacy_bugs=False) if not played.is_same]

    unexpected = [shown(played) for played in different if played.recorded.name not in REFUSED_TO_COPY]
    assert unexpected == []
    assert [played.recorded.name for played in different] == [
        recorded.name for recorded in exchanges_of(log) if recorded.name in REFUSED_TO_COPY
    ]
    for played in different:
        status, payload, _ = REFUSED_TO_COPY[played.recorded.name]
        body = bytes.fromhex(payload) + b"\x3e\x3e" if payload else b""
        assert (played.got[2], played.got[HEADER_SIZE:]) == (status, body), shown(played)
