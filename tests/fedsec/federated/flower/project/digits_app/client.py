"""Clients that do two local epochs; their rate falls with each round they took part in."""

from digits_app.task import SEED, of_client
from fedsec.federated.flower import to_client_app
from fedsec.federated.local import ClientSteps, LocalTraining

LOCAL = LocalTraining(epochs=2, batch=32, lr=0.2, schedule=ClientSteps(1, 0.5))
app = to_client_app(of_client, LOCAL, seed=SEED)
