"""Embeddings of captions are computed once, and again where the weights change."""

import torch
import torch.nn.functional as F
from torch import nn

from sdg.models.caption_embeddings import CaptionEmbeddings

CAPTIONS = ["a", "bb"]


class Lengths(nn.Module):
    """A sentence's length through a layer; counts what it is asked."""

    def __init__(self):
        super().__init__()
        self.layer, self.asked = nn.Linear(1, 3), 0

    def encode_text(self, sentences):
        self.asked += len(sentences)
        return F.normalize(self.layer(torch.tensor([[float(len(each))] for each in sentences])))


def test_they_are_computed_once_for_the_same_captions_and_weights():
    kept, encoder = CaptionEmbeddings(), Lengths()
    first = kept.encode(encoder, CAPTIONS)
    assert torch.equal(first, encoder.encode_text(CAPTIONS)) and not first.requires_grad
    asked = encoder.asked
    assert torch.equal(kept.encode(encoder, list(CAPTIONS)), first) and encoder.asked == asked
    assert kept.encode(encoder, []) is None


def test_other_captions_weights_or_encoders_are_seen():
    kept, encoder = CaptionEmbeddings(), Lengths()
    kept.encode(encoder, CAPTIONS)
    assert torch.equal(kept.encode(encoder, ["ccc"]), encoder.encode_text(["ccc"]))
    optimizer = torch.optim.SGD(encoder.parameters(), 0.5)
    encoder.encode_text(["ccc"])[:, 0].sum().backward()
    optimizer.step()
    assert torch.equal(kept.encode(encoder, ["ccc"]), encoder.encode_text(["ccc"]))
    encoder.load_state_dict(Lengths().state_dict())
    assert torch.equal(kept.encode(encoder, ["ccc"]), encoder.encode_text(["ccc"]))
    encoder.double().float()
    assert torch.equal(kept.encode(encoder, ["ccc"]), encoder.encode_text(["ccc"]))
    other = Lengths()
    assert torch.equal(kept.encode(other, ["ccc"]), other.encode_text(["ccc"]))


def test_inference_mode_and_autocast_of_one_call_are_not_those_of_the_next():
    kept, encoder = CaptionEmbeddings(), Lengths()
    with torch.inference_mode():
        assert kept.encode(encoder, CAPTIONS).is_inference()
    assert not kept.encode(encoder, CAPTIONS).is_inference()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = kept.encode(encoder, CAPTIONS)
        assert torch.equal(mixed, encoder.encode_text(CAPTIONS))
    plain = kept.encode(encoder, CAPTIONS)
    assert torch.equal(plain, encoder.encode_text(CAPTIONS)) and not torch.equal(plain, mixed)


def test_one_that_is_no_module_is_asked_every_time():
    class Plain:
        asked = 0

        def encode_text(self, sentences):
            self.asked += 1
            return F.normalize(torch.ones(len(sentences), 2))

    plain, kept = Plain(), CaptionEmbeddings()
    for _ in range(2):
        kept.encode(plain, CAPTIONS)
    assert plain.asked == 2
