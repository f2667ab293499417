"""`python -m tune_encoder`: the command line."""

from tune_encoder.cli import main

main()
