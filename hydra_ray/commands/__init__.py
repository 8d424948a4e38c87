"""Groups of commands, each a Typer application that `cli.py` adds."""
