"""``lit-knn COMMAND --config FILE``: LightningCLI, with errors in one line and heavy imports late."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING

from lit_knn.errors import INTERRUPTED, one_sentence

if TYPE_CHECKING:
    from pytorch_lightning.cli import ArgsType

HELP = """\
usage: lit-knn {doctor,taps,fit,extract,index,test,verify} --config FILE [--config OVERLAY ...] [--KEY VALUE ...]
       lit-knn report RUNS... [--output FOLDER] [--delta Δ]
       lit-knn doctor
       lit-knn compare A B [--format table|markdown|csv|json] [--most N]
       lit-knn forecast [--tasks N] < COMMANDS

Does a nearest-neighbor defense really help? Attack, search, vote, score (Dubey et al., 2019).

commands, all from the same configuration:
  doctor     say what is installed, built and missing, and what bytes and hours it will take; exit code 1 where
             something will fail; without a configuration, of the machine alone
  taps       print the layers of the network, any of which model.database.taps may name; needs no database
  fit        fit the projections, PCA of each tap; extract does it where it is not split into parts
  extract    stream the database's images into a sealed store of features and predictions; resumes
  index      build the search index of each tap from the store
  test       attack the queries, let every defense answer, write record, table and figures
  verify     read the whole database again and compare checksums; changes nothing

  report     records of finished runs to tables, figures and one web page; needs no configuration
  compare    what differs between two runs, and whether beyond sampling error; needs no configuration
  forecast   hours and bytes of commands like these, one a line of standard input, as slurm/submit gives them

options of each command with a configuration:
  --config FILE     YAML; later files overlay earlier ones, lists are replaced (`key+:` appends)
  --KEY VALUE       any key of the configuration, such as --data.batch_size 32 or --trainer.devices 2
  --print_config    print the whole configuration and exit
  --help            every key with its meaning and default
  --part 3/16       fit, extract, verify, index --stage add: the third of sixteen parts; in a Slurm array by itself

  LIT_KNN_TEST__DATA__BATCH_SIZE=32 in the environment sets a key that no file sets
  lit-knn --version
"""


def main(args: ArgsType = None) -> None:
    """Run the command line.

    Args:
        args: Command and options; by default those of the process.

    Raises:
        SystemExit: With code 2 after one line, if a key, class, layer, path or input is wrong; with 75 if a signal
            has asked the command to stop, and the same command goes on; with 130 after Ctrl-C; with 1 if another
            process of the run has failed or was killed, or what doctor looks at will fail.
    """
    given = sys.argv[1:] if args is None else args
    if isinstance(given, list) and (not given or given[0] in ("-h", "--help")):
        print(HELP, end="")
        return
    if given == ["--version"]:
        print(f"lit_knn {metadata.version('lit_knn')}")
        return
    with one_sentence("lit-knn"), interruptible():
        if given == ["doctor"]:
            from lit_knn.doctor.machine import machine
            from lit_knn.doctor.telling import tell

            tell(machine())
        elif isinstance(given, list) and given[0] == "report":
            from lit_knn.report.command import report

            report(given[1:])
        elif isinstance(given, list) and given[0] == "compare":
            from lit_knn.report.comparison.command import compare

            compare(given[1:])
        elif isinstance(given, list) and given[0] == "forecast":
            from lit_knn.cli.forecast import forecast

            forecast(given[1:])
        else:
            from lit_knn.cli.command_line import run  # half of the start-up time of PyTorch is not spent on --help

            run(args)


@contextmanager
def interruptible() -> Iterator[None]:
    """End with one line and code 130 on Ctrl-C, while nothing is under way that says itself how it goes on."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first process speaks for all
            sys.stderr.write("lit-knn: interrupted; the same command starts again\n")
        raise SystemExit(INTERRUPTED) from interrupt
