"""Export the trained network of a run: to C code for a device, or to a file for JAX or other libraries.

    seadlif export --workdir=DIR --format=c [--dtype=int8] [--name=network] --output_dir=OUT

leaves in OUT

    network.h, network.c    C99 without heap and libraries: weights, the state of a stream, and how a step advances it
    main.c                  an example: reads steps from standard input, and writes the outputs; if it is not there yet
    test_vector.txt         random steps with the expected outputs, for `main.c`

`--name` is the name of the files, and the prefix of all names in them. In place of `--workdir=DIR`, `--pretrained=ecg`
or `--pretrained=bsd` is a network that comes with the library.

`--dtype=int8` is fixed point: weights of 8 bits, states of 32, equal to `seadlif evaluate --quantize=int8` bit for bit.

    seadlif export --workdir=DIR --format=jax --output_dir=OUT

leaves `network.bin`, which JAX runs without this library (see `TrainedModel.export`).

    seadlif export --workdir=DIR --format=nir [--nir_metadata] --output_dir=OUT

leaves `network.nir`, a graph that libraries for spiking networks and chips read. NIR has LIF neurons, and no adaptive
ones: those are refused, unless --nir_metadata stores their adaptation where only this library reads it.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from seadlif_jax.cli.environment import prepare_jax
from seadlif_jax.cli.errors import errors_in_one_line
from seadlif_jax.cli.parsers import Parser, add_network, chosen_network, output_folder
from seadlif_jax.device import device_layers
from seadlif_jax.inference import TrainedModel


def main(arguments: Sequence[str]) -> None:
    """Run `seadlif export`."""
    options = _parse(arguments)
    prepare_jax()
    with errors_in_one_line("files that were not finished were not written"):
        trained, default = chosen_network(options)
        if options.format != "jax":
            device_layers(trained.network, trained.variables)  # refuses a network before there is a folder
        output = output_folder(options.output_dir, default / "export")
        if options.format == "jax":
            print(f"wrote {trained.export(output / 'network.bin')}")
        elif options.format == "nir":
            _export_nir(trained, output / "network.nir", options.nir_metadata)
        else:
            _export_c(trained, options.dtype, options.name, output)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Parser("export", __doc__)
    add_network(parser)
    parser.add_argument("--format", choices=("c", "jax", "nir"), required=True, help="what to write")
    parser.add_argument("--dtype", choices=("float32", "int8"), default="float32", help="for C (default: float32)")
    parser.add_argument("--name", default="network", help="for C: name of the files, and prefix of all names in them")
    parser.add_argument("--nir_metadata", action="store_true", help="for NIR: adaptation of neurons as metadata")
    parser.add_argument("--output_dir", metavar="DIR", help="folder for the files (default: export, in the run's)")
    options = parser.parse_args(arguments)
    if options.format != "c" and (options.dtype != "float32" or options.name != "network"):
        parser.error("--dtype and --name are for --format=c")
    if options.format != "nir" and options.nir_metadata:
        parser.error("--nir_metadata is for --format=nir")
    return options


def _export_nir(trained: TrainedModel, path: Path, metadata: bool) -> None:
    from seadlif_jax.interop.nir_file import write_nir  # needs a package of its own

    step_ms = trained.config.data.step_ms
    write_nir(device_layers(trained.network, trained.variables), path, step_ms or 1.0, metadata)
    print(f"wrote {path}, with steps of {step_ms or 1:g} ms{'' if step_ms else ': the run has no config.data.step_ms'}")


def _export_c(trained: TrainedModel, dtype: str, name: str, folder: Path) -> None:
    """Write the C code of a network and its test vector, and print how large they are."""
    has_example = (folder / "main.c").exists()
    size = trained.export_c(folder, dtype, name)
    print(f"wrote {name}.h, {name}.c, {'' if has_example else 'main.c '}and test_vector.txt to {folder}")
    if has_example:
        print("main.c was there already, and is left as it is")
    code = _code_bytes(folder / f"{name}.c")
    print(f"weights {size.weights:,} bytes, state of a stream {size.state:,} bytes, {code}")
    print(f"to try it there: cc -std=c99 -O2 {name}.c main.c -o {name} && ./{name} check < test_vector.txt")


def _code_bytes(source: Path) -> str:
    """Return the size of the machine code, if there is a C compiler, as text."""
    if not shutil.which("cc") or not shutil.which("size"):
        return "code not measured: no C compiler"
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "network.o"
        command = ["cc", "-std=c99", "-Os", "-c", str(source), "-o", str(compiled)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return "code not measured: the C compiler failed"
        sections = subprocess.run(["size", "-A", str(compiled)], capture_output=True, text=True, check=False).stdout
    code = sum(int(line.split()[1]) for line in sections.splitlines() if line.startswith(".text"))
    return f"code {code:,} bytes (cc -Os, this machine)"
