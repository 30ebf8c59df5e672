"""`python -m wsseg VERB ...`, as `wsseg VERB ...`."""

from wsseg.cli import main

main()
