"""
Breaking a coin into ten of the next denomination on the servers (the RAIDA protocol, section 6.3).

Serial numbers are asked for, the ten coins are committed with their numbers, and only then the
break is sent. A server that is silent is asked whether it holds the ten or still the one; where
too few have broken it, they join the ten together again.
"""

from collections import Counter
from typing import Final

from lockers.raida import payloads
from lockers.raida.coins import format_amount
from lockers.raida.commands import Command
from lockers.raida.errors import WireError
from lockers.raida.payloads import BreakRequest, CoinAn, CoinPan, JoinRequest, SerialsOperation, SerialsRequest
from lockers.raida.statuses import QUORUM, RAIDA_COUNT
from lockers.states import Mark, Step
from lockers.transport import Answer, Call, NoResponse, Results
from lockers.worker import make_change as change
from lockers.worker import task_store
from lockers.worker.broadcast import ASKED, FOUND, LINGER_MOVING, MOVED, Table, Work, every
from lockers.worker.make_change import Family, Next
from lockers.worker.messages import Reply, Targets, read

# Servers give the session 0 to whoever asks without a reservation (section 6.3).
_SESSION: Final = 0
# Between asking for free numbers and committing to ten of them another task may take one.
_CHOICES: Final = 3
_EVERYTHING: Final = tuple(range(1 + payloads.CHANGE_COUNT))

_JOINED: Final[Table] = {(Mark.NEW, Reply.PASS): Mark.KEPT}
_ASKED_ABOUT_JOIN: Final[Table] = {(Mark.NEW, Reply.HAS_OLD): Mark.KEPT, (Mark.NEW, Reply.HAS_NEITHER): Mark.GONE}
_AT_REST: Final = Mark.UNASKED + Mark.UNREACHED + Mark.UNREADABLE + Mark.REFUSED + Mark.KEPT + Mark.ERROR
_CHECKED: Final[Table] = every(_AT_REST, {Reply.HAS_OLD: Mark.KEPT, Reply.HAS_NEITHER: Mark.NEITHER})


def make_change(work: Work) -> str:
    """
    Break coins until those of a put make its amount. Returns why that could not be, or "".

    :raises TaskSuperseded: another worker has the task
    """
    while (needed := change.assemble(held=work.held)) is Next.BREAK:
        batch = change.open_break(work.held)
        assert batch is not None
        reason = break_coin(work, batch)
        if not change.finish_break(held=work.held, batch=batch):
            return reason or "The coin that had to be broken first was not broken by 13 servers."
    if needed is Next.IMPOSSIBLE:
        return "The change is not confirmed by enough servers to be broken further; it is in the wallet."
    task_store.advance(held=work.held, message="")
    return ""


def break_coin(work: Work, batch: int) -> str:
    """
    Break the coin of a batch, or go on with what was begun; the marks tell how it ended.

    Returns why nothing was sent, or "".

    :raises TaskSuperseded: another worker has the task
    """
    members = change.family(held=work.held, batch=batch)
    coin = members.broken.coin
    small = format_amount(coin.value // payloads.CHANGE_COUNT)
    task_store.advance(
        held=work.held,
        step=Step.BREAKING,
        progress=3,
        message=f"Breaking a {format_amount(coin.value)} into ten {small}s",
    )
    if not members.change:
        for _ in range(_CHOICES):
            if change.propose(
                held=work.held, batch=batch, broken=members.broken, votes=_free_numbers(work, batch, members)
            ):
                break
        else:
            return "Fewer than 13 servers name the same ten free serial numbers for the change."
        members = change.family(held=work.held, batch=batch)
    for chosen in (work.awake(_good(members)), _good(members)):
        # The second time those that were spared, if they could make the difference.
        if _passes(members) < QUORUM:
            left = {raida: each for raida, each in chosen.items() if members.broken.marks[raida] == Mark.UNASKED}
            work.exchange(
                Command.BREAK,
                batch,
                members.pieces,
                left,
                MOVED,
                call=_break(members, left),
                sent=True,
                early=LINGER_MOVING,
            )
    if _passes(members) < QUORUM:
        _ask(work, batch, members, Mark.SENT + Mark.ERROR, ASKED)
    _join_again(work, batch, members)
    return ""


def look_again(work: Work, batch: int, *, is_quiet: bool) -> None:
    """
    Ask what became of a break whose outcome was unknown, and undo one that cannot succeed.

    :raises TaskSuperseded: another worker has the task
    """
    members = change.family(held=work.held, batch=batch)
    _ask(work, batch, members, Mark.SENT + Mark.OLD, FOUND if is_quiet else ASKED)
    _join_again(work, batch, members)


def _good(members: Family) -> Targets:
    return {
        raida: _EVERYTHING
        for raida in range(RAIDA_COUNT)
        if members.broken.marks[raida] == Mark.UNASKED and members.broken.pown[raida] == "p"
    }


def _passes(members: Family) -> int:
    return members.broken.marks.count(Mark.NEW)


def _free_numbers(work: Work, batch: int, members: Family) -> Counter[int]:
    """Ask all servers for serial numbers that are free; return how many servers name each."""
    request = SerialsRequest(_SESSION, SerialsOperation.BREAK, members.broken.coin.denomination)
    asked = range(RAIDA_COUNT)
    call = Call(
        command=Command.GET_AVAILABLE_SNS, payloads=dict.fromkeys(asked, payloads.encode_get_available_sns(request))
    )
    return _votes(work.question(call, batch, enough=_ten_are_free), members.broken.coin.denomination - 1)


def _ten_are_free(results: Results) -> bool:
    answers = [result for result in results.values() if isinstance(result, Answer)]
    return len(answers) >= QUORUM and sum(count >= QUORUM for count in _votes(results, None).values()) >= (
        payloads.CHANGE_COUNT
    )


def _votes(results: Results, denomination: int | None) -> Counter[int]:
    votes: Counter[int] = Counter()
    for result in results.values():
        if not isinstance(result, Answer):
            continue
        try:
            reply = payloads.decode_get_available_sns_reply(result.status, result.payload)
        except WireError:
            continue
        if denomination is None or reply.denomination == denomination:
            votes.update(set(reply.serial_numbers))
    return votes


def _break(members: Family, chosen: Targets) -> Call:
    return Call(
        command=Command.BREAK,
        payloads={
            raida: payloads.encode_break(
                BreakRequest(
                    _SESSION,
                    CoinAn(members.broken.coin, members.broken.old[raida]),
                    tuple(CoinPan(each.coin, each.new[raida]) for each in members.change),
                )
            )
            for raida in chosen
        },
    )


def _join(members: Family, chosen: Targets) -> Call:
    return Call(
        command=Command.JOIN,
        payloads={
            raida: payloads.encode_join(
                JoinRequest(
                    _SESSION,
                    CoinPan(members.broken.coin, members.broken.old[raida]),
                    tuple(CoinAn(each.coin, each.new[raida]) for each in members.change),
                )
            )
            for raida in chosen
        },
    )


def _with_marks(members: Family, marks: str) -> Targets:
    return {raida: _EVERYTHING for raida in range(RAIDA_COUNT) if members.broken.marks[raida] in marks}


def _ask(work: Work, batch: int, members: Family, marks: str, table: Table) -> None:
    """Ask servers whether they hold the coin, the ten, or neither."""
    chosen = _with_marks(members, marks)
    records = {
        raida: [
            CoinAn(members.broken.coin, members.broken.old[raida]),
            *(CoinAn(each.coin, each.new[raida]) for each in members.change),
        ]
        for raida in chosen
    }
    call = Call(
        command=Command.DETECT,
        payloads={raida: payloads.encode_detect(each) for raida, each in records.items()},
    )
    work.exchange(
        Command.DETECT, batch, members.pieces, chosen, table, call=call, reads=_one_or_ten, early=LINGER_MOVING
    )


def _one_or_ten(command: Command, result: Answer | NoResponse | None, count: int) -> tuple[Reply, ...]:
    told = read(command, result, count)
    if set(told) <= {Reply.PASS, Reply.FAIL}:
        the_one, *the_ten = (reply is Reply.PASS for reply in told)
        if the_one and not any(the_ten):
            return (Reply.HAS_OLD,) * count
        return ((Reply.HAS_NEW if all(the_ten) and not the_one else Reply.HAS_NEITHER),) * count
    return told


def _join_again(work: Work, batch: int, members: Family) -> None:
    """Make the coin whole where it was broken, if it can no longer be broken on 13 servers."""
    if not _cannot_be_broken(members):
        return
    if _passes(members):
        # A worker that died may have sent the join already.
        _ask(work, batch, members, Mark.NEW, _ASKED_ABOUT_JOIN)
        chosen = dict.fromkeys(_with_marks(members, Mark.NEW), (*_EVERYTHING[1:], 0))
        call = _join(members, chosen)
        work.exchange(Command.JOIN, batch, members.pieces, chosen, _JOINED, call=call, back=True)
        _ask(work, batch, members, Mark.NEW, _ASKED_ABOUT_JOIN)
    _ask(work, batch, members, _AT_REST, _CHECKED)


def _cannot_be_broken(members: Family) -> bool:
    marks = members.broken.marks
    may_have = sum(mark in Mark.NEW + Mark.SENT + Mark.OLD for mark in marks)
    return may_have < QUORUM and not set(marks) <= {Mark.UNASKED, Mark.UNREACHED}
