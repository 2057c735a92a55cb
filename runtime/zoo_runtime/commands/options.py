"""The options and arguments that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="name, name@version, hf://owner/repo[@version], or the path of a release.")]
File = Annotated[
    Path,
    typer.Argument(
        help="A structure, in any format that ASE reads; of several, the last.", exists=True, dir_okay=False
    ),
]
ModelName = Annotated[str, typer.Option("--model", help="name, name@version, or the path of a release.")]
Backend = Annotated[str, typer.Option(help="auto, native, onnx, torchscript or aoti.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Dtype = Annotated[str, typer.Option(help="float32 or float64.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads.")]
Hub = Annotated[
    str | None, typer.Option(help="A folder, https://..., hf://owner/repo, s3://... of a hub; default $ZOO_HUB.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse structures unlike the training data, instead of warning.")
]
Dipole = Annotated[
    str | None,
    typer.Option(help="A model with a dipole, for infrared intensities.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
