"""`python -m coppice_client` is the command `coppice`."""

from coppice_client.cli import main

main()
