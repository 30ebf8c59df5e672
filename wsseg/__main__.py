"""`python -m wsseg COMMAND ...` is `wsseg COMMAND ...`."""

from wsseg.cli import main

main()
