"""`python -m liverleaf`: the command line."""

from liverleaf.cli.app import main

main()
