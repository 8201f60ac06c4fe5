"""Flower: our selectors in real runs, any Flower project in this process, every update on disk.

`to_strategy`      a selector, as FedEMD, as a Flower strategy
`to_client_app`    our clients as a Flower ClientApp: the same plans, the same draws
`InProcessGrid`    any Flower strategy with any ClientApp in this process: no Ray, no daemon
`UpdateTap`        records what every client of any Flower run sent, for the attacks
`run_project`      `flwr run` of a project on Ray that leaves nothing behind

Tested with flwr 1.41 (extra `flower`). Nothing here reports to anyone. Flower's own programs do by
default, and install packages at run time: `QUIET` is what to set in their environment.
"""

try:
    import flwr  # noqa: F401
except ImportError as error:
    raise ImportError("Flower runs need flwr: pip install 'crowdlearn[flower]'") from error

from fedsec.federated.flower.client import report_label_counts, to_client_app
from fedsec.federated.flower.engine import QUIET, run_project
from fedsec.federated.flower.grid import InProcessGrid, run_in_process
from fedsec.federated.flower.records import to_arrays, to_state
from fedsec.federated.flower.strategy import SelectorStrategy, contributions_on, to_strategy
from fedsec.federated.flower.tap import UpdateTap, read_model, read_updates

__all__ = [
    "QUIET",
    "InProcessGrid",
    "SelectorStrategy",
    "UpdateTap",
    "contributions_on",
    "read_model",
    "read_updates",
    "report_label_counts",
    "run_in_process",
    "run_project",
    "to_arrays",
    "to_client_app",
    "to_state",
    "to_strategy",
]
