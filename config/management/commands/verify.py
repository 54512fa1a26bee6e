"""`manage.py verify`: compare the seals of history with the rows, the keys, and checkpoints that were kept."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction

from config.seals import chain, forks, sealing, verifying
from transfers import partitions


class Command(BaseCommand):
    help = (
        "Verify the whole chain of seals: each seal, its signature, and all sealed rows. Exit status 1 if anything"
        " differs."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--checkpoints", type=Path, help="a file with pages of /public/checkpoints that were stored earlier"
        )
        parser.add_argument(
            "--begin-signing",
            action="store_true",
            help="if nothing differs, sign new seals of a chain that is not signed yet",
        )

    def handle(self, *args: Any, checkpoints: Path | None, begin_signing: bool, **options: Any) -> None:
        try:
            kept = forks.read_checkpoints(checkpoints) if checkpoints else None
        except forks.UnreadableCheckpoints as error:
            raise CommandError(str(error)) from error
        verified = self._verify(kept)
        findings = verified.findings
        if begin_signing:
            findings = [each for each in findings if each.check != verifying.SIGNATURES or verified.signed]
        for finding in findings:
            self.stderr.write(f"{finding.check}: {finding.detail}")
        if kept is not None and {each.check for each in findings} == {verifying.KEPT}:
            raise CommandError(
                f"{len(findings)} findings: each row is as it was sealed here, and the chain has the checkpoints of"
                f" {checkpoints} up to height {forks.last_common(forks.here(), kept):,} alone. After a recovery to an"
                " earlier moment it lacks those of blocks sealed after it. Otherwise history was written again."
            )
        if findings:
            raise CommandError(f"{len(findings)} findings: history is not as it was sealed.")
        head = verified.head
        if head is None:
            self.stdout.write("Nothing is sealed yet.")
            return
        compared = verified.seals - len(verified.elsewhere)
        of_those = f" of the {compared:,} blocks that were compared" if verified.elsewhere else ""
        self.stdout.write(
            f"{verified.seals:,} seals with {verified.leaves:,} leaves: every sealed row{of_those} is as it was sealed."
        )
        if verified.elsewhere:
            self.stdout.write(f"Not compared: blocks {verifying.spans(verified.elsewhere)}; {verifying.ELSEWHERE}.")
        self.stdout.write(f"The newest: height {head.height}, {bytes(head.hash).hex()}, {head.sealed_at.isoformat()}.")
        if kept is not None:
            self.stdout.write(f"It continues the {len(kept):,} checkpoints of {checkpoints}.")
        if verified.signed < verified.seals:
            self.stdout.write(f"Not signed: {verified.seals - verified.signed:,} of these, sealed without a key.")
        if begin_signing:
            try:
                sealing.begin_signing()
            except sealing.ChainRefused as error:
                raise CommandError(str(error)) from error
            self.stdout.write(f"Signed from now on with the key {chain.keys().current_id}.")

    def _verify(self, kept: dict[int, bytes] | None) -> verifying.Verified:
        # One snapshot: a seal that is made meanwhile is not in it.
        alone = not connection.in_atomic_block
        with transaction.atomic(), connection.cursor() as cursor:
            if alone:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            partitions.keep()
            cursor.execute("SET LOCAL statement_timeout = 0")
            return verifying.whole(kept=kept)
