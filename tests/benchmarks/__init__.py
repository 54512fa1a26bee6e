"""How many requests a second Coppice answers on this machine: `make bench`. README.md tells how to read it."""
