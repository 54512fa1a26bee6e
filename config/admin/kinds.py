"""Kinds of subjects of actions that more than the actions name."""

from typing import Final

PERSON: Final = "person"
PROPOSAL: Final = "proposal"
WALLET: Final = "wallet"
