"""`python -m alwatch` is the `alwatch` command."""

from alwatch.cli import main

main()
