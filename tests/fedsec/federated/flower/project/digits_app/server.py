"""FedEMD chooses, FedAvg averages, and a tap records what the clients send."""

import json
import os
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from safetensors.torch import save_file

from digits_app.task import N_CLIENTS, PER_ROUND, SEED, whole
from fedsec.core.functional import state_of
from fedsec.federated.flower import UpdateTap, to_arrays, to_state, to_strategy
from fedsec.federated.selectors import FedEmd

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Trains, and writes the model, who was chosen, and the environment that Flower gave us."""
    out, start = Path(str(context.run_config["out"])), state_of(whole().net)
    strategy = to_strategy(
        FedEmd(alpha=3.0, beta=1.0), n_clients=N_CLIENTS, per_round=PER_ROUND, seed=SEED
    )
    rounds = int(context.run_config["rounds"])
    result = strategy.start(UpdateTap(grid, out / "updates"), to_arrays(start), rounds)
    save_file(to_state(result.arrays, start).parameters, out / "model.safetensors")
    chosen = [one.chosen.tolist() for one in strategy.rounds]
    told = {"chosen": chosen, "environment": dict(os.environ), "process": os.getpid()}
    (out / "told.json").write_text(json.dumps(told))
