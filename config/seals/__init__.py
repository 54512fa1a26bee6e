"""
Seals of settled history: blocks of rows in a Merkle tree, each block signed and chained to the one before.

`encoding` the bytes of a row · `tables` which rows are sealed · `merkle` trees and proofs · `chain` headers, keys and
signatures · `settled` up to where rows are final · `sealing` makes blocks · `verifying` compares them with the rows ·
`proofs` shows that a row is in a block · `forks` compares two chains. docs/seals.md defines the format for authors of
verifiers.
"""
