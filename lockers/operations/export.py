"""Export: coins into a file for their owner; fetching, confirming and recalling the file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from lockers import coin_import, competing_claims, delivery, errors, export_file_names, export_queries, queries, vault
from lockers.models import Export
from lockers.operations import new_task, reserve
from lockers.operations.new_task import Started
from lockers.raida import archives, files
from lockers.raida.coins import Coin as WireCoin
from lockers.raida.coins import total_value
from lockers.states import FileType, TaskKind
from lockers.worker import task_store
from trusts import queries as trusts
from wallets.models import Wallet

# Files are built in memory: 20,000 coins of a .stack are 20 MB. A ZIP has a member for each coin, and importers read
# 2,000 members.
MAXIMUM_EXPORT_COINS: Final = {
    FileType.BIN: 20_000,
    FileType.PNG: 20_000,
    FileType.STACK: 20_000,
    FileType.ZIP: archives.MAXIMUM_MEMBERS,
}


def start(*, actor: Wallet, name: str, units: int | None, file_type: FileType, tag: str = "") -> Started:
    """
    Export coins worth exactly `units`, or all free ones if that is None, into a file for their owner.

    The coins leave the balance at once, unless one must be broken first. The file can be fetched until its arrival is
    confirmed (`fetch`), and recalled until another owner has imported it.

    :raises WalletNotFound, WalletNotControlled, NotEnoughCoins, NoExactChange, CoinsBusy: as for `put.start`
    :raises InvalidLockerRequest: more coins than a file of this type takes
    """
    with transaction.atomic(savepoint=False):
        wallet = new_task.controlled_wallet(actor, name)
        if units is None:
            units = total_value(queries.free_counts(wallet_id=wallet.pk))
            if not units:
                reserve.refuse_while_fixing(wallet, {}, 1)
                raise errors.NotEnoughCoins("The wallet has no free coins")
        coin_ids, to_break = reserve.lock_coins_or_break(wallet, units, at_most=MAXIMUM_EXPORT_COINS[file_type])
        asked: dict[str, Any] = {"wallet": wallet, "actor": actor, "tag": tag, "amount": units}
        if to_break is not None:
            return reserve.open_after_break(TaskKind.EXPORT, coin_ids, to_break, plan={"type": file_type}, **asked)
        task = new_task.create_finished(TaskKind.EXPORT, message="Exported.", **asked)
        new_task.store_result(task, delivery.write_out(task=task, file_type=file_type, coin_ids=coin_ids))
    return Started(task)


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of coins. The content is secret: anyone who has it can import the coins."""

    name: str
    type: FileType
    content: bytes = field(repr=False)


def fetch(*, actor: Wallet, export_id: UUID) -> ExportedFile:
    """
    Build the file of an export, and count the download.

    A client that lost the response may fetch again, until the arrival is confirmed.

    :raises ExportNotFound: no such export, or not of a wallet that the actor controls
    :raises ExportConfirmed: its arrival was confirmed
    :raises ExportReturned: coins of it were imported or recalled here, or are being so
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        if export.confirmed_at is not None:
            raise errors.ExportConfirmed
        rows = export_queries.coins_in_file(export=export)
        if len(rows) != export.coin_count:
            raise errors.ExportReturned
        records = [
            files.CoinRecord(
                WireCoin(row.denomination, row.serial_number),
                vault.open_numbers(row.secrets, coin_id=row.pk),
                pown=row.pown,
            )
            for row in rows
        ]
        content = _write_file(FileType(export.type), records, export.task.tag)
        Export.objects.filter(pk=export.pk).update(fetched=export.fetched + 1, fetched_at=Now())
    return ExportedFile(export.file_name, FileType(export.type), content)


def _write_file(file_type: FileType, records: Sequence[files.CoinRecord], tag: str) -> bytes:
    match file_type:
        case FileType.BIN:
            return files.write_bin(records)
        case FileType.PNG:
            return files.write_png(records)
        case FileType.STACK:
            return files.write_stack(records)
        case FileType.ZIP:
            return archives.write_zip(
                [
                    archives.Member(
                        export_file_names.name_of([record.coin], tag=tag, extension=FileType.BIN),
                        files.write_bin([record]),
                    )
                    for record in records
                ]
            )


def _lock_export(actor: Wallet, export_id: UUID) -> Export:
    ids = trusts.controlled_wallet_ids(actor_id=actor.pk)
    export = (
        Export.objects.select_related("task", "wallet")
        .select_for_update(no_key=True, of=("self",))
        .filter(pk=export_id, wallet_id__in=ids)
        .first()
    )
    # The list was read without a lock on the trust: check again with one.
    if export is None or not trusts.controls_until_commit(actor_id=actor.pk, wallet_id=export.wallet_id):
        raise errors.ExportNotFound
    return export


def confirm(*, actor: Wallet, export_id: UUID) -> export_queries.ExportView:
    """
    Record that the file arrived: it is not served again. Idempotent.

    :raises ExportNotFound: no such export, or not of a wallet that the actor controls
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        if export.confirmed_at is None:
            Export.objects.filter(pk=export.pk).update(confirmed_at=Now())
        return export_queries.export_visible_to(actor=actor, export_id=export.pk)


def recall(*, actor: Wallet, export_id: UUID) -> Started:
    """
    Start to import the coins of an export again from the secrets that were kept, which makes its file worthless.

    For a file that was lost. Coins that another owner has imported meanwhile stay theirs.

    :raises ExportNotFound: no such export, or not of a wallet that the actor controls
    :raises ExportReturned: all its coins were imported or recalled here, or are being so
    """
    with transaction.atomic(savepoint=False):
        export = _lock_export(actor, export_id)
        rows = export_queries.coins_in_file(export=export)
        task = new_task.open_task(
            TaskKind.IMPORT,
            wallet=export.wallet,
            actor=actor,
            coins=len(rows),
            is_long=task_store.is_long(len(rows)),
            tag=export.task.tag,
        )
        saved = competing_claims.insert_incoming(
            task_id=task.pk,
            wallet_id=export.wallet_id,
            # As in a take, refused coins belong to another owner: they are not counterfeit.
            origin=TaskKind.TAKE,
            coins=[
                (
                    WireCoin(row.denomination, row.serial_number),
                    vault.open_numbers(row.secrets, coin_id=row.pk),
                    vault.fresh_numbers(),
                )
                for row in rows
            ],
        )
        if not saved:
            raise errors.ExportReturned
        competing_claims.park_if_all_wait(task.pk, saved)
        outcome = coin_import.FileOutcome(export.file_name, accepted=len(saved.saved), waiting=len(saved.waiting))
        task.result = {"files": [coin_import.outcome_as_json(outcome)]}
        task.save(update_fields=["result"])
    return Started(task, files=[outcome])
