from typing import Any

import pytest

from lockers.localnet.faults import FAULTS, Fault, InvalidFault, parse_assignment, parse_fault, parse_servers
from lockers.raida.commands import Command
from lockers.transport import Answer, NoResponse
from tests.localnet.coins import answer, detect, minted, tell
from tests.support.local_network import LocalNetwork


@pytest.mark.parametrize(
    ("text", "assigned"),
    [
        ("3=silent", [(3, Fault("silent"))]),
        ("0-2=delay:0.5", [(0, Fault("delay", 0.5)), (1, Fault("delay", 0.5)), (2, Fault("delay", 0.5))]),
        ("24=late:1,drop-reply", [(24, Fault("late", 1.0)), (24, Fault("drop-reply"))]),
    ],
)
def test_faults_are_read(text: str, assigned: Any) -> None:
    assert parse_assignment(text) == assigned


def test_a_star_is_everybody() -> None:
    assert list(parse_servers("*")) == list(range(25))


@pytest.mark.parametrize(
    "text",
    [
        *("", "3", "3=", "3=angry", "25=silent", "3-1=silent", "x=silent", "-1=silent", "3=silent:1"),
        *("3=delay", "3=delay:x", "3=delay:-1", "3=delay:nan", "3=delay:1e9"),
        *("3=status", "3=status:256", "3=status:1.5"),
    ],
)
def test_what_is_no_fault_is_refused(text: Any) -> None:
    with pytest.raises(InvalidFault):
        parse_assignment(text)


def test_every_fault_reads_back_as_it_is_written() -> None:
    for name in FAULTS:
        fault = parse_fault({"late": "late:0.5", "delay": "delay:2", "status": "status:242"}.get(name, name))
        assert parse_fault(str(fault)) == fault


def test_a_wrong_secret_makes_genuine_coins_false_until_cleared(network: LocalNetwork) -> None:
    records = minted(network, 4)
    network.fault(3, "wrong-secret")

    assert answer(network, 3, Command.DETECT, detect(records, 3)) == (242, b"")
    assert answer(network, 4, Command.DETECT, detect(records, 4)) == (241, b"")
    network.clear(3)
    assert answer(network, 3, Command.DETECT, detect(records, 3)) == (241, b"")


def test_faults_of_one_server_add_up(network: LocalNetwork) -> None:
    network.fault(3, "delay:0.1", "status:252", "wrong-id")
    assert network.fleet.faults() == {3: ["delay:0.1", "status:252", "wrong-id"]}
    assert tell(network, 3, Command.ECHO, seconds=0.4) == NoResponse(3, "mismatch", sent=True)

    network.clear(3)
    assert network.fleet.faults() == {}
    assert isinstance(tell(network, 3, Command.ECHO), Answer)


def test_a_server_that_is_down_comes_back_on_its_port(network: LocalNetwork) -> None:
    address = network.servers[3]
    network.fault(3, "down")
    assert isinstance(tell(network, 3, Command.ECHO), NoResponse)

    network.clear()

    assert network.servers[3] == address
    assert isinstance(tell(network, 3, Command.ECHO), Answer)


def test_a_late_server_does_the_work_after_its_client_gave_up(network: LocalNetwork) -> None:
    records = minted(network, 4)
    network.fault(3, "late:0.5")

    gone = tell(network, 3, Command.DETECT, detect(records, 3), seconds=0.1)

    assert gone == NoResponse(3, "timeout", sent=True)
    assert isinstance(tell(network, 3, Command.DETECT, detect(records, 3), seconds=20), Answer)
