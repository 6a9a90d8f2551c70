"""The command line of a training that takes a second."""

TINY = {
    "data.size": 64,
    "data.held_out": 32,
    "data.cache": "null",
    "data.batch_size": 16,
    "denoiser.network.block_out_channels": "[16,16]",
    "denoiser.network.down_block_types": "[DownBlock2D,DownBlock2D]",
    "denoiser.network.up_block_types": "[UpBlock2D,UpBlock2D]",
    "denoiser.network.attention_head_dim": 8,
    "module.preview": 0,
    "trainer.max_steps": 2,
    "trainer.val_check_interval": 2,
    "callbacks.checkpoint.every_n_train_steps": 2,
    "logger": "none",
}


def words(folder, **changed) -> list[str]:
    """The command line of a tiny training, with `data__size` for data.size."""
    settings = TINY | {key.replace("__", "."): value for key, value in changed.items()}
    return ["train.py", *(f"{k}={v}" for k, v in settings.items()), f"hydra.run.dir={folder}"]
