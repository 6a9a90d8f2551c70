"""An optimizer of the user's own."""

import torch


class Wild(torch.optim.AdamW):
    """AdamW by another name."""
