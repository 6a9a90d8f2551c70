"""The networks: a denoiser with its process, and an encoder."""

from collections.abc import Mapping

from sdg.app.kinds import NULL, Called, Choice, Flag, Integer, Kind, ListOf, Number, Section, Text
from sdg.app.schema.shared import COUNT, INTERVAL, PATH, WEIGHT

__all__ = ["NETWORKS"]

SENTENCE = Called("a sentence, which may be empty, or null", Text(empty=True) | Number() | NULL)
VARIANCES = ("fixed_small", "fixed_large", "learned_range")
SCHEDULES = (
    *("linear", "scaled_linear", "cosine", "linear_continuous", "cosine_spliced"),
    *("flow", "edm"),
)

NETWORKS: Mapping[str, Kind] = {
    "denoiser.weights": PATH,
    "denoiser.path": PATH | NULL,
    "denoiser.autoencoder": PATH | NULL,
    "denoiser.label": Integer(0) | NULL,
    "denoiser.prompt": SENTENCE,
    "denoiser.negative_prompt": SENTENCE,
    "denoiser.guidance_scale": WEIGHT | NULL,
    "denoiser.guidance_interval": INTERVAL | NULL,
    "denoiser.negative_label": Integer(0) | NULL,
    "denoiser.autoguidance": PATH | NULL,
    "denoiser.autoguidance_scale": WEIGHT | NULL,
    "denoiser.autoguidance_interval": INTERVAL | NULL,
    "denoiser.resolution": COUNT | NULL,
    "denoiser.schedule": Choice(SCHEDULES) | NULL,
    "denoiser.T": COUNT | NULL,
    "denoiser.heads": COUNT | NULL,
    "denoiser.heads_upsample": COUNT | NULL,
    "denoiser.head_width": COUNT | NULL,
    "denoiser.qkv": Choice(("heads_first", "qkv_first")) | NULL,
    "denoiser.time_scale": Number(1e-6) | NULL,
    "denoiser.variance": Choice(VARIANCES) | NULL,
    "denoiser.family": Choice(("dit", "sit", "edm")) | NULL,
    "denoiser.prediction": Choice(("epsilon", "x0", "v", "velocity", "flow_x0", "edm")),
    "denoiser.sigma_data": Number(0.001, 1000) | NULL,
    "denoiser.max_weight": Number(1),
    "denoiser.clip": Flag | NULL,
    "denoiser.patch": COUNT,
    "denoiser.network": Section(),
    "denoiser.network.block_out_channels": ListOf(COUNT),
    "denoiser.network.layers_per_block": COUNT,
    "denoiser.network.down_block_types": ListOf(Text("the name of a block")),
    "denoiser.network.up_block_types": ListOf(Text("the name of a block")),
    "denoiser.network.attention_head_dim": COUNT | NULL,
    "denoiser.network.norm_num_groups": COUNT,
    "denoiser.network.dropout": Number(0, 1, below=True),
    "schedule.kind": Choice(SCHEDULES),
    "schedule.T": COUNT,
    # The encoder.
    "encoder.weights": PATH,
    "encoder.clip": PATH,
    "encoder.name": Text() | NULL,
    "encoder.pretrained": Text("a file, or a tag of open_clip's") | NULL,
    "encoder.checkpointing": Flag,
    "encoder.model_name": Text("the name of a classifier of timm's"),
    "encoder.freeze": ListOf(Text("the name of a stage"), least=0),
    "encoder.tokenizer": Choice(("words", "bpe")),
    "encoder.model": Section(),
    "encoder.model.embed_dim": COUNT,
    "encoder.model.vision_cfg": Section(),
    "encoder.model.vision_cfg.image_size": COUNT,
    "encoder.model.vision_cfg.timm_model_name": Text("the name of a model of timm's"),
    "encoder.model.vision_cfg.timm_pool": Text(empty=True),
    "encoder.model.vision_cfg.timm_proj": Choice(("linear", "mlp")) | NULL,
    "encoder.model.text_cfg": Section(),
    "encoder.model.text_cfg.context_length": Integer(2),
    "encoder.model.text_cfg.vocab_size": COUNT | NULL,
    "encoder.model.text_cfg.width": COUNT,
    "encoder.model.text_cfg.heads": COUNT,
    "encoder.model.text_cfg.layers": COUNT,
    "encoder.network": Section(),
    "encoder.network.latent_channels": COUNT,
    "encoder.network.block_out_channels": ListOf(COUNT),
    "encoder.network.layers_per_block": COUNT,
    "encoder.network.norm_num_groups": COUNT,
    "encoder.network.mid_block_add_attention": Flag,
}
