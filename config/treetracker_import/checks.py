"""Comparing both sides after an import, in its transaction: nothing is committed unless all is right."""

from collections.abc import Iterator

from config.ops import audits
from config.treetracker_import.findings import USABLE
from config.treetracker_import.staging import rows


def differences() -> Iterator[str]:
    """Yield a sentence for each sum that is not the same on both sides. Tokens that Coppice moved do not count."""
    yield from (
        f"Wallet {wallet_id} has {there} tokens in the source and {here} in Coppice."
        for wallet_id, there, here in rows(
            "SELECT wallet_id, sum(there), sum(here) FROM ("
            "   SELECT wallet_id, 1 AS there, 0 AS here FROM import_token WHERE NOT is_kept_here"
            "    UNION ALL"
            "   SELECT here.wallet_id, 0, 1 FROM wallets_token AS here"
            "     JOIN import_token AS token ON token.id = here.id AND NOT token.is_kept_here) AS side"
            " GROUP BY wallet_id HAVING sum(there) <> sum(here) ORDER BY wallet_id LIMIT 100"
        )
    )
    ((missing, other),) = rows(
        "SELECT count(*) FILTER (WHERE here.id IS NULL), count(*) FILTER (WHERE here.capture_id <> token.capture_id)"
        "  FROM import_token AS token LEFT JOIN wallets_token AS here ON here.id = token.id"
    )
    if missing:
        yield f"{missing} tokens of the source are not in Coppice."
    if other:
        yield f"{other} tokens stand for another capture than in the source."
    ((without,),) = rows(
        f"SELECT count(*) FROM import_wallet AS wallet LEFT JOIN wallets_wallet AS here ON here.id = wallet.id"  # noqa: S608
        f" WHERE wallet.is_new AND coalesce({_usable()}, false)"
        "    AND coalesce(here.password, '') <> concat_ws('$', 'treetracker_hmac_sha512', wallet.salt, wallet.password)"
    )
    if without:
        yield f"{without} wallets could not log in with their password."
    yield from (
        f"Transfer {transfer_id} is {there} in the source and missing in Coppice."
        for transfer_id, there in rows(
            "SELECT transfer.id, transfer.state FROM import_transfer AS transfer"
            "  LEFT JOIN transfers_transfer AS here ON here.id = transfer.id"
            " WHERE transfer.fate <> 'left_out' AND here.id IS NULL ORDER BY transfer.id LIMIT 100"
        )
    )


def _usable() -> str:
    return USABLE.replace("(password", "(wallet.password").replace("(salt", "(wallet.salt")


def audit() -> list[str]:
    """Run the audit of the whole installation, and return what it finds."""
    return [f"{finding.check}: {finding.detail}" for finding in audits.findings()]
