"""How networks are compiled."""

__all__ = ["compile_mode"]


def compile_mode(setting: bool | str) -> str | None:
    """`torch.compile`'s mode; of true its default, None.

    Arguments:
        setting: true, or the name of a mode.
    """
    return None if setting is True else str(setting)
