"""A network as diffusers saves it: its config and its weights, in one folder."""

import inspect
from pathlib import Path
from typing import Any

from torch import Tensor

from sdg.errors import UserError, first_line
from sdg.io.json_config import json_config

__all__ = ["loaded_network", "network_file", "network_options"]


def network_options(network: Any) -> dict[str, Any]:
    """The arguments that rebuild a network of diffusers, as plain JSON."""
    arguments = {}
    # Some keep in their config what no constructor takes, such as an `AutoencoderTiny`.
    taken = inspect.signature(type(network).__init__).parameters
    for key, value in network.config.items():
        if key in taken:
            arguments[key] = list(value) if isinstance(value, tuple) else value
    return arguments


def loaded_network(model: Path, kind: str) -> Any:
    """The network whose config this is, with the weights beside it.

    Arguments:
        kind: its class in diffusers, one that is known here.

    Raises:
        UserError: the weights cannot be read, or are not those of the network.
    """
    import diffusers

    try:
        network, report = getattr(diffusers, kind).from_pretrained(
            model.parent, local_files_only=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # of constructors that take a config for granted, and of readers
        raise UserError(
            f"the weights beside {model} cannot be read ({first_line(error)})."
        ) from error
    wrong = [*report["missing_keys"], *report["unexpected_keys"]]
    wrong += [str(name) for name in report["mismatched_keys"]]
    if wrong:
        raise UserError(
            f"the weights beside {model} are not those of its network: {len(wrong)} tensors are "
            f"missing, left over or of another shape, such as {wrong[0]}."
        )
    return network


def network_file(folder: Path, kinds: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, tensors) of a folder with one network of diffusers.

    Arguments:
        kinds: the classes that it may be of.

    Returns:
        {"network": its class, "options": its arguments}, and the tensors under `network.`.

    Raises:
        UserError: it is of another class, or cannot be read.
    """
    model = folder / "config.json"
    kind = json_config(model).get("_class_name")
    if kind not in kinds:
        raise UserError(f"{model} describes a {kind}; one of {', '.join(kinds)} is needed.")
    network = loaded_network(model, kind)
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    return {"network": kind, "options": network_options(network)}, tensors
