"""What the text encoders of a Stable Diffusion folder make of a prompt."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sdg.errors import UserError, first_line
from sdg.io.json_config import json_config, required

__all__ = ["PromptEmbeddings", "prompt_embeddings"]

INSTALL = "pip install 'transformers>=5,<6'"
# Settings of a text encoder that are read; others, of quantisation or attention, may load code.
SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers"),
    *("num_attention_heads", "max_position_embeddings", "hidden_act", "layer_norm_eps"),
    *("pad_token_id", "bos_token_id", "eos_token_id", "use_attention_mask"),
)
ADAPTER = "adapter_config.json"  # which transformers would follow to other weights
VOCABULARY_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))  # a tokenizer needs one
TOKENIZER_CONFIG = "tokenizer_config.json"  # and this: it says what fills a short sentence up


class PromptEmbeddings(NamedTuple):
    """What a network reads of N sentences.

    Arguments:
        tokens: one vector a token, (N, L, W).
        pooled: one vector a sentence, (N, D), of Stable Diffusion XL; else None.
    """

    tokens: Tensor
    pooled: Tensor | None


def prompt_embeddings(
    folder: Path, prompt: str, negative_prompt: str | None, zeros: bool
) -> PromptEmbeddings:
    """Those of the prompt and of the negative prompt, N = 2.

    With one text encoder they are its last hidden states, after the final norm. Of Stable Diffusion
    XL's two they are the last but one hidden states of both, side by side, and the second one's
    `text_embeds`. The text encoders are not kept.

    Arguments:
        folder: of a pipeline of diffusers.
        negative_prompt: None is the empty sentence.
        zeros: with two text encoders zeros stand for a negative prompt of None.

    Raises:
        UserError: transformers is not installed; a tokenizer or a text encoder is missing, damaged
            or of another kind.
    """
    sentences = [prompt, negative_prompt or ""]
    if not (folder / "text_encoder_2").is_dir():
        tokens, _ = encoded(folder, "", sentences, projected=False)
        return PromptEmbeddings(tokens, None)
    first, _ = encoded(folder, "", sentences, projected=False, penultimate=True)
    second, pooled = encoded(folder, "_2", sentences, projected=True, penultimate=True)
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"{folder}: its text encoders read {first.shape[1]} and {second.shape[1]} tokens; they "
            "are not of one model."
        )
    tokens = torch.cat([first, second], -1)
    assert pooled is not None
    if zeros and negative_prompt is None:
        tokens[1], pooled[1] = 0, 0
    return PromptEmbeddings(tokens, pooled)


@torch.no_grad()
def encoded(
    folder: Path, suffix: str, sentences: Sequence[str], projected: bool, penultimate: bool = False
) -> tuple[Tensor, Tensor | None]:
    """(hidden states (N, L, W), `text_embeds` (N, D) of a projected one) of one text encoder.

    Arguments:
        suffix: of the folders' names.
        projected: whether it is a `CLIPTextModelWithProjection`.
        penultimate: take the last but one hidden states, without the final norm.
    """
    encoder = text_encoder(folder / f"text_encoder{suffix}", projected)
    length = encoder.config.max_position_embeddings
    inputs = token_numbers(folder / f"tokenizer{suffix}", sentences, length)
    if int(inputs["input_ids"].max()) >= encoder.config.vocab_size:
        raise UserError(
            f"{folder}: tokenizer{suffix} has more words than text_encoder{suffix}; they are not "
            "of one model."
        )
    masked = getattr(encoder.config, "use_attention_mask", False)
    output = encoder(
        inputs["input_ids"],
        attention_mask=inputs["attention_mask"] if masked else None,
        output_hidden_states=True,
    )
    hidden = output.hidden_states[-2] if penultimate else output.last_hidden_state
    if not hidden.isfinite().all():
        raise UserError(
            f"the weights of {folder / f'text_encoder{suffix}'} are damaged: what they make of a "
            "sentence is no number. Fetch them again."
        )
    return hidden.clone(), output.text_embeds.clone() if projected else None


def token_numbers(folder: Path, sentences: Sequence[str], length: int) -> Any:
    """`input_ids` and `attention_mask` of sentences, (N, L) each.

    Arguments:
        folder: of the tokenizer.
        length: L at most. What is longer is cut, with a warning.
    """
    library = transformers()
    present = any(all((folder / name).is_file() for name in names) for names in VOCABULARY_FILES)
    if not present or not (folder / TOKENIZER_CONFIG).is_file():
        raise UserError(
            f"{folder} holds no tokenizer: tokenizer.json, or vocab.json and merges.txt, beside "
            f"{TOKENIZER_CONFIG} are needed; fetch the folder again."
        )
    try:
        with quietly(library):
            tokenizer = library.CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            length = min(length, tokenizer.model_max_length)
            inputs = tokenizer(
                list(sentences),
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )
            numbers = [tokenizer(sentence).input_ids for sentence in sentences]
            left_out = [tokenizer.decode(each[length - 1 : -1]).strip() for each in numbers]
    except Exception as error:  # of tokenizers' code in Rust, of JSON, of wrong keys
        raise UserError(f"the tokenizer {folder} cannot be read ({first_line(error)}).") from error
    for words in filter(None, left_out):
        warnings.warn(
            f"prompt: {folder.name} gives the network {length - 2} tokens of a sentence, so this "
            f"is left out: {words!r}.",
            stacklevel=2,
        )
    return inputs


def text_encoder(folder: Path, projected: bool) -> Any:
    """A CLIP's text encoder in float32, in eval mode, from safetensors."""
    library = transformers()
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(
            f"{folder} holds no text encoder; the whole folder that diffusers' pipeline saved is "
            "needed."
        )
    config = json_config(file)
    kind = required(config, "model_type", str, file)
    if (folder / ADAPTER).exists():
        raise UserError(f"{folder} has an {ADAPTER}; merge the adapter into the weights first.")
    if kind != "clip_text_model":
        raise UserError(f"{file} describes a {kind}; a text encoder of CLIP is needed.")
    name = "CLIPTextModelWithProjection" if projected else "CLIPTextModel"
    own = {key: config[key] for key in SIZES if key in config}
    try:
        with quietly(library):
            encoder, report = getattr(library, name).from_pretrained(
                folder,
                config=library.CLIPTextConfig(**own),
                dtype=torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # which the report names
            )
    except Exception as error:  # of safetensors, of configs with wrong values
        raise UserError(
            f"the text encoder {folder} cannot be read ({first_line(error)})."
        ) from error
    wrong = [*report["missing_keys"], *map(str, report["mismatched_keys"])]
    if wrong:
        raise UserError(
            f"the weights in {folder} are not those of a {name}: {len(wrong)} tensors are missing "
            f"or of another shape, such as {min(wrong)}."
        )
    return encoder.eval()


def transformers() -> Any:
    """The library of tokenizers and text encoders, an optional dependency.

    Raises:
        UserError: it is not installed, or too old.
    """
    try:
        import transformers as library
    except ImportError as error:
        raise UserError(
            f"prompts of Stable Diffusion need transformers, which is not installed: {INSTALL}"
        ) from error
    if int(library.__version__.partition(".")[0]) < 5:
        raise UserError(
            f"prompts of Stable Diffusion need transformers 5, and {library.__version__} is "
            f"installed: {INSTALL}"
        )
    keep_linspace()
    return library


def keep_linspace() -> None:
    """Lets torch list its functions that a device's context is for.

    It does so once, at the first context. Loading a model, transformers enters one in which
    `torch.linspace` is another; in every later context torch's own would then be on the CPU.
    """
    with torch.device("meta"):
        torch.empty(0)


@contextmanager
def quietly(library: Any) -> Iterator[None]:
    """Without the bars and the reports that transformers prints of every load."""
    log = library.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()
