"""What a process of the tests' two does: in a module of its own, so that it can be found there."""

import torch
from torchmetrics import MetricCollection

from sdg.metrics.features import Diversity, Frechet, Kernel, PrecisionRecall
from sdg.metrics.retrieval import Retrieval


def collection(real):
    return MetricCollection(
        {
            "frechet": Frechet(real),
            "kernel": Kernel(real),
            "precision_recall": PrecisionRecall(real),
            "diversity": Diversity(),
        }
    )


def of_rank(rank, world, features, group, real, port, found):
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    metrics, retrieval = collection(real), Retrieval()
    for part in torch.arange(len(features)).split(37)[rank::world]:
        metrics.update(features[part], part, group[part])
        retrieval.update(features[part] @ features[:10].T, part % 10)
    computed = metrics.compute() | retrieval.compute()
    if rank == 0:
        found.update(computed)
    torch.distributed.destroy_process_group()
