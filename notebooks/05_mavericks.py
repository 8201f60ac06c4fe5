# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Mavericks: who should be asked, and who contributes?
#
# Fifty clients hold 1,297 handwritten digits between them. One of them, the *Maverick*, holds all
# the ones; nobody else has ever seen a one. The server asks five clients a round. If it asks
# anybody, it meets the Maverick once in ten rounds, and the average forgets what it brought. Here
# are three ways to choose, and what the usual values say about the Maverick.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

from fedsec.core.functional import state_of
from fedsec.core.rng import stream
from fedsec.data.images import load_images
from fedsec.data.partitions import exclusive_mavericks
from fedsec.federated.contribution import Exact, softmax_shares
from fedsec.federated.local import ClientSteps, LocalTraining
from fedsec.federated.selectors import FedEmd, PowerOfChoice, RandomSelector
from fedsec.federated.simulate import Federation, begin, simulate
from fedsec.federated.task import Task
from fedsec.nets import make_net

torch.set_num_threads(1)
MAVERICK, ONES, ROUNDS = 0, 1, 60

digits = load_images("digits")
clients = exclusive_mavericks(digits.train.y.numpy(), 50, (ONES,), stream(0, "partition"))
net = make_net("mlp", digits, seed=0)
task = Task(net, digits.train, clients.parts, digits.test, n_classes=10)
print("the Maverick", task.counts()[MAVERICK])
print("another     ", task.counts()[7])

# %% [markdown]
# ## Three ways to choose
#
# FedEMD prefers clients whose labels are unlike everybody's, less so as rounds go by. It knows the
# label counts only. Power-of-choice asks twenty clients for their loss and takes the worst.

# %%
local = LocalTraining(epochs=3, batch=4, lr=0.05, momentum=0.5, schedule=ClientSteps(10, 0.1))
selectors = {
    "random": RandomSelector(),
    "FedEMD": FedEmd(alpha=0.3, beta=0.3 / (ROUNDS / 2)),
    "power-of-choice": PowerOfChoice(n_candidates=20),
}
runs = {}
for name, selector in selectors.items():
    federation = Federation(
        per_round=5, local=local, selector=selector, contribution=Exact(), seed=0
    )
    start = begin(task, federation, state_of(net))
    runs[name] = list(simulate(task, federation, start, ROUNDS))[-1].rounds
    met = sum(MAVERICK in one.chosen for one in runs[name])
    print(f"{name:16} met the Maverick in {met} of {ROUNDS} rounds,"
          f" ends at {runs[name][-1].accuracy:.1%}")  # fmt: skip

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for name, rounds in runs.items():
    number = [one.number for one in rounds]
    left.plot(number, [one.accuracy for one in rounds], label=name)
    right.plot(number, [one.recall[ONES] for one in rounds], label=name)
left.set(xlabel="round", ylabel="test accuracy")
right.set(xlabel="round", ylabel="recall of the Maverick's class")
left.legend()
plt.show()

# %% [markdown]
# One run says little: `benchmarks/mavericks.py` has ten seeds, and every selector.
#
# ## What do Shapley values say?
#
# The value of a coalition is the negative test loss of its average. In each round in which the
# Maverick took part, its exact Shapley value is set against those of the other four, as a softmax:
# a fifth would be an average client.

# %%
figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, rounds in runs.items():
    met = [one for one in rounds if MAVERICK in one.chosen]
    share = [softmax_shares(one.contribution)[list(one.chosen).index(MAVERICK)] for one in met]
    axis.plot([one.number for one in met], share, "o-", markersize=3, label=name)
axis.axhline(0.2, color="grey", linestyle=":", label="an average client")
axis.set(xlabel="round", ylabel="the Maverick's share", ylim=(0, None))
axis.legend()
plt.show()

# %% [markdown]
# The only client that could teach the ones is called the least useful while the model has not
# learned anything else, because its update pushes everything towards one class. Whoever pays, or
# chooses, by such values sends it away.

# %%
early = [one for one in runs["FedEMD"][:20] if MAVERICK in one.chosen]
lowest = [MAVERICK == one.chosen[np.argmin(one.contribution)] for one in early]
print(f"lowest of the five in {sum(lowest)} of the first {len(early)} rounds that it took part in")
