"""A frozen autoencoder beside what is trained: it moves along, and no weights are its."""

import copy

import torch
from latent import autoencoder_kl
from torch import nn

from sdg.models.autoencoder import Autoencoder
from sdg.training.frozen import FrozenAutoencoder


class Trained(nn.Module):
    def __init__(self, autoencoder):
        super().__init__()
        self.model, self.frozen = nn.Linear(2, 2), FrozenAutoencoder(autoencoder)


def test_an_autoencoder_moves_with_the_module_and_is_none_of_its_weights():
    autoencoder = Autoencoder(autoencoder_kl())
    module = Trained(autoencoder)
    assert module.state_dict().keys() == {"model.weight", "model.bias"}
    assert len(list(module.parameters())) == 2 and not list(module.frozen.buffers())
    module.double()
    tensors = [*autoencoder.parameters(), *autoencoder.buffers()]
    assert {value.dtype for value in tensors} == {torch.float64}
    module.to("meta")
    assert {value.device.type for value in autoencoder.parameters()} == {"meta"}


def test_a_copy_of_the_module_shares_its_autoencoder():
    module = Trained(Autoencoder(autoencoder_kl()))
    again = copy.deepcopy(module)
    assert again.frozen.network is module.frozen.network
    assert again.model.weight is not module.model.weight
    assert copy.deepcopy(Trained(None)).frozen.network is None
