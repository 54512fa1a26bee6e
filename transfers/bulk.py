"""
Batches: many bundles from one sender, or many new wallets, in one transaction.

Each row is validated like a single request. All rows are checked before anything is refused, so that the client can
fix its file at once. The number of statements does not grow with the rows, and one statement selects the tokens of
all rows.

A batch of transfers is all or nothing. A batch of new wallets skips rows whose wallet exists and rows with an invalid
cell, and reports both, so that a file can be sent again. Only wallets that the batch creates get tokens, all of them or
none.

A name twice, an amount without a sender, and amounts that the sender cannot cover refuse the file of wallets, as in the
public service: there the file, not one row of it, is wrong.
"""

import contextlib
from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from django.db import transaction

from transfers import counters, errors, ledger, operations
from transfers.ids import new_id
from transfers.states import TransferState
from trusts import operations as trust_operations
from wallets import errors as wallet_errors
from wallets import names, restricted_keys, wallet_batches
from wallets import operations as wallet_operations
from wallets import queries as wallet_queries
from wallets.deadlocks import retry_on_deadlock
from wallets.models import LONGEST_ABOUT, Wallet

# What one statement moves within its 30 s timeout on a busy machine: with eight processes on two cores 25,000 tokens
# took 5 s and 250,000 took 46 s (2026-11-21).
MAXIMUM_TOKENS: Final = 100_000
_ABOUT: Final = "extra_wallet_data_about"


class Row(NamedTuple):
    """One row of a file. `problem` is what the parser found wrong with its shape."""

    line: int
    wallet_name: str
    amount: int | None
    about: str = ""
    logo_url: str = ""
    cover_url: str = ""
    reference: str = ""
    problem: errors.RowInvalid | None = None


class Created(NamedTuple):
    """
    The result of a batch of new wallets.

    `pictured` counts the new wallets with a logo or a cover. `existing` are the errors of rows whose wallet exists, in
    the order of the file, and `failures` those of other rows without a new wallet, by line.
    """

    wallets: int
    pictured: int
    existing: list[wallet_errors.WalletNameTaken]
    failures: dict[int, wallet_errors.DomainError]


class _Undone(Exception):
    """Rolls a dry run back."""


@retry_on_deadlock
def transfer_batch(
    *,
    actor: Wallet,
    sender: str,
    rows: Sequence[Row],
    default_amount: int | None = None,
    credential_id: UUID | None = None,
) -> None:
    """
    Transfer a bundle from `sender` to the wallet of each row: at once, pending or requested, as a single send would.

    `sender` and the rows name wallets by name or id. A row without an amount takes the default one; an amount of 0
    transfers nothing. `credential_id` is the credential with which the actor asks.

    :raises wallets.errors.InvalidWalletName: the sender's name can never be one
    :raises wallets.errors.WalletNotFound: no such sender
    :raises transfers.errors.RowsRefused: rows that a single send would refuse, or that name a wallet twice
    :raises transfers.errors.BatchTooLarge: more than 100,000 tokens in all
    :raises transfers.errors.BatchUncovered: the sender has fewer free tokens than all rows together ask
    """
    problems = _repeated(rows) | _misshapen(rows)
    for index, row in enumerate(rows):
        if row.amount is None and default_amount is None:
            message = f'"[{index}].{errors.AMOUNT_COLUMN}" is required'
            problems.setdefault(row.line, errors.RowInvalid(message, column=errors.AMOUNT_COLUMN))
    with transaction.atomic(savepoint=False):
        source = _sender(sender)
        _send(who=_Sender(actor, source, credential_id), rows=rows, default_amount=default_amount, problems=problems)


@retry_on_deadlock
def create_batch(
    *,
    actor: Wallet,
    rows: Sequence[Row],
    sender: str | None = None,
    default_amount: int | None = None,
    is_dry_run: bool = False,
    credential_id: UUID | None = None,
) -> Created:
    """
    Create the wallets of the rows that do not exist, managed by the actor, and transfer a bundle from `sender` to each
    new wallet with an amount.

    A row without an amount takes the default one, if any; an amount of 0 transfers nothing. A dry run does the same
    and rolls it back.

    :raises wallets.errors.InvalidWalletName: the sender's name can never be one
    :raises wallets.errors.WalletNotFound: no such sender
    :raises transfers.errors.RowsRefused: repeated names, amounts without a sender
    :raises transfers.errors.BatchTooLarge: more than 100,000 tokens in all
    :raises transfers.errors.BatchUncovered: the sender has fewer free tokens than all new wallets together get
    """
    problems = _repeated(rows)
    failures = _misshapen(rows)
    wallets: dict[int, wallet_batches.NewWallet] = {}
    for index, row in enumerate(rows):
        if row.line in problems or row.line in failures:
            continue
        if row.amount and sender is None:
            problems[row.line] = errors.RowInvalid(
                "sender_wallet is required for transfer", column=errors.AMOUNT_COLUMN
            )
            continue
        try:
            key = wallet_operations.validate_new_name(row.wallet_name)
            if len(row.about) > LONGEST_ABOUT:
                raise errors.RowInvalid(
                    f'"[{index}].{_ABOUT}" length must be less than or equal to {LONGEST_ABOUT} characters long',
                    column=_ABOUT,
                )
        except (errors.RowInvalid, wallet_errors.InvalidWalletName, wallet_errors.WalletNameLength) as error:
            failures[row.line] = error
        else:
            wallets[row.line] = wallet_batches.NewWallet(
                uuid4(), row.wallet_name, key, row.about, row.logo_url or None, row.cover_url or None
            )
    if problems:
        raise errors.RowsRefused(problems)
    created: set[UUID] = set()
    with contextlib.suppress(_Undone), transaction.atomic(savepoint=is_dry_run):
        source = None if sender is None else _sender(sender)
        if wallets:
            created = wallet_batches.create_wallets(wallets=list(wallets.values()), creator=actor)
        if created:
            trust_operations.grant_management(
                actor=actor, wallet_ids=[wallet.id for wallet in wallets.values() if wallet.id in created]
            )
        paid = [
            row
            for row in rows
            if row.line in wallets and wallets[row.line].id in created and _size(row, default_amount)
        ]
        if source is not None and paid:
            targets = [wallet_queries.WalletReference(id=wallets[row.line].id) for row in paid]
            who = _Sender(actor, source, credential_id)
            _send(who=who, rows=paid, default_amount=default_amount, problems={}, targets=targets)
        if is_dry_run:
            raise _Undone
    return Created(
        wallets=len(created),
        pictured=sum(bool(new.logo_url or new.cover_url) for new in wallets.values() if new.id in created),
        existing=[
            wallet_errors.WalletNameTaken(f"The wallet '{new.name}' already exists")
            for new in wallets.values()
            if new.id not in created
        ],
        failures=dict(sorted(failures.items())),
    )


def _size(row: Row, default_amount: int | None) -> int | None:
    """Return how many tokens a row transfers, or None if neither it nor the batch says."""
    return default_amount if row.amount is None else row.amount


def _misshapen(rows: Sequence[Row]) -> dict[int, wallet_errors.DomainError]:
    """Return what the parser found wrong, by line."""
    return {row.line: row.problem for row in rows if row.problem is not None}


def _repeated(rows: Sequence[Row]) -> dict[int, wallet_errors.DomainError]:
    """Return the rows whose wallet a row before them names, by line. Rows without a name are not among them."""
    problems: dict[int, wallet_errors.DomainError] = {}
    seen: set[UUID | str] = set()
    for index, row in enumerate(rows):
        key = names.parse_uuid(row.wallet_name) or names.name_key(row.wallet_name)
        if key and key in seen:
            problems[row.line] = errors.RowInvalid(f'"[{index}]" contains a duplicate value')
        seen.add(key)
    return problems


def _sender(text: str) -> Wallet:
    try:
        return wallet_queries.wallet_by_name_or_id(text)
    except wallet_errors.WalletNotFound:
        raise _not_found(text) from None


def _not_found(text: str) -> wallet_errors.WalletNotFound:
    # The message of the version of the public service that has batches.
    kind = "name" if names.parse_uuid(text) is None else "id"
    return wallet_errors.WalletNotFound(f"Could not find wallet by {kind}: {text}")


class _Sender(NamedTuple):
    """Who sends a batch: the wallet that is logged in, the wallet whose tokens they are, the credential."""

    actor: Wallet
    source: Wallet
    credential_id: UUID | None


def _send(
    *,
    who: _Sender,
    rows: Sequence[Row],
    default_amount: int | None,
    problems: dict[int, wallet_errors.DomainError],
    targets: Sequence[wallet_queries.WalletReference] | None = None,
) -> None:
    if targets is None:
        targets = [_reference(row, problems) for row in rows]
    sizes = [_size(row, default_amount) or 0 for row in rows]
    actor, source, credential_id = who
    decisions = ledger.decide_batch(actor_id=actor.pk, source_id=source.pk, destinations=targets, sizes=sizes)
    decided = []
    for row, decision in zip(rows, decisions, strict=True):
        if row.line in problems:
            continue
        if decision.destination_id is None:
            problems[row.line] = _not_found(row.wallet_name)
        elif decision.state == "same":
            problems[row.line] = errors.SameWallet()
        elif decision.state == "foreign":
            problems[row.line] = errors.NeitherWalletControlled()
        else:
            size = _size(row, default_amount)
            assert size is not None
            assert decision.state is not None
            if size:
                state = TransferState(decision.state)
                decided.append(
                    ledger.BatchRow(new_id(), decision.destination_id, size, state, decision.approval_of, row.reference)
                )
    _refuse_duplicates(rows, decisions, problems)
    if problems:
        raise errors.RowsRefused(problems)
    if not decided:
        return
    total = sum(row.size for row in decided)
    if total > MAXIMUM_TOKENS:
        held = counters.token_counts([source.pk])[source.pk]
        raise errors.BatchTooLarge(MAXIMUM_TOKENS) if total <= held.available else errors.BatchUncovered
    for wait in (False, True):
        with operations.attempt():
            if ledger.send_batch(
                actor_id=actor.pk,
                source_id=source.pk,
                rows=decided,
                wait=wait,
                lifetime=operations.lifetime(),
                credential_id=credential_id,
            ):
                restricted_keys.spend(*(row.size for row in decided if row.state is not TransferState.REQUESTED))
                return
            raise operations.TooFew
    raise errors.BatchUncovered


def _refuse_duplicates(
    rows: Sequence[Row], decisions: Sequence[ledger.BatchDecision], problems: dict[int, wallet_errors.DomainError]
) -> None:
    """Refuse a wallet that one row names by name and another by id."""
    seen: set[UUID] = set()
    for index, (row, decision) in enumerate(zip(rows, decisions, strict=True)):
        if decision.destination_id is None:
            continue
        if decision.destination_id in seen:
            problems.setdefault(row.line, errors.RowInvalid(f'"[{index}]" contains a duplicate value'))
        seen.add(decision.destination_id)


def _reference(row: Row, problems: dict[int, wallet_errors.DomainError]) -> wallet_queries.WalletReference:
    try:
        return wallet_queries.reference(row.wallet_name)
    except wallet_errors.InvalidWalletName as error:
        problems.setdefault(row.line, error)
        return wallet_queries.WalletReference()
