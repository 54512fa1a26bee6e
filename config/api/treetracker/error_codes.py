"""The codes of errors of wallets, tokens, transfers and trusts (`config/api/error_codes.py`)."""

from collections.abc import Mapping
from typing import Final

from config.api.error_codes import ErrorCode
from config.api.treetracker import transfer_error_codes, trust_error_codes, wallet_error_codes
from wallets.errors import DomainError

BY_CLASS: Final[Mapping[type[DomainError], ErrorCode]] = {
    **wallet_error_codes.BY_CLASS,
    **transfer_error_codes.BY_CLASS,
    **trust_error_codes.BY_CLASS,
}
