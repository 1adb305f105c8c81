"""`sameface evaluate …`: measure a model on labelled images through a service, or on embeddings in a file."""

import typer

from sameface.cli.evaluate import (
    compatibility,
    few_shot,
    forgeries,
    groups,
    identification,
    model_comparison,
    operating_points,
    pairs,
    presentation_attacks,
    quality,
    verification,
)

app = typer.Typer(help="Measure a model on labelled images, or on embeddings in a file.", no_args_is_help=True)
app.command("pairs")(pairs.pairs)
app.command("verification")(verification.verification)
app.command("groups")(groups.groups)
app.command("identification")(identification.identification)
app.command("compare")(model_comparison.compare)
app.command("compatibility")(compatibility.compatibility)
app.command("few-shot")(few_shot.few_shot)
app.command("omniglot-runs")(few_shot.omniglot_runs)
app.command("forgeries")(forgeries.forgeries)
app.command("pad")(presentation_attacks.pad)
app.command("quality")(quality.quality)
app.command("operating-points")(operating_points.operating_points)
