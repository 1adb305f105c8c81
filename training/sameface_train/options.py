"""Options that several commands share."""

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON object")]
Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N")]
Steps = Annotated[int | None, typer.Option(min=1, help="default: the recipe's", show_default=False)]
Threads = Annotated[int, typer.Option(min=0, help="of torch; 0: all cores")]
