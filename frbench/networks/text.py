"""Networks for token ids: a bag of words, a small transformer, a pretrained encoder."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, NotNegativeInt, Share
from frbench.networks.base import Network
from frbench.support.lazy import import_extra

PADDING = 0  # as in frbench.data.texts.text_table, which networks do not import


def _mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average vectors [B, L, D] over the tokens that are no padding [B, L]."""
    share = mask.to(tokens.dtype)
    return (tokens * share[..., None]).sum(1) / share.sum(1, keepdim=True).clamp(min=1)


class _Bag(nn.Module):
    def __init__(self, vocab_size: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=PADDING)

    def forward(self, x: Tensor) -> Tensor:
        return _mean(self.embedding(x), x != PADDING)


class BagOfWords(Network):
    """Mean of the words' vectors, then fully connected ReLU layers; word order does not matter.

    Args:
        width: Size of a word's vector.
        hidden: Widths of the layers behind the mean; the last one is D. With ``[]`` the logits
            are linear in the words' frequencies.
        dropout: Dropout rate after the mean and each layer, in [0, 1).

    Raises:
        UserError: If a width is not positive.

    Example:
        >>> net = BagOfWords(width=8, hidden=[4])
        >>> net.bind(Sizes(2, 2, (5,), vocab_size=20))
        >>> one, other = torch.tensor([[3, 4, 4, 0, 0]]), torch.tensor([[4, 3, 4, 0, 0]])
        >>> torch.allclose(net(one)[1], net(other)[1])
        True
    """

    reads_text = True
    padding = 0

    def __init__(
        self, width: Count = 64, hidden: list[Count] | None = None, dropout: Share = 0.0
    ) -> None:
        super().__init__()
        self.width = width
        self.hidden = [32] if hidden is None else hidden
        self.dropout = dropout

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return embedding and layers, and the width of the last one."""
        layers: list[nn.Module] = [_Bag(sizes.vocab_size, self.width)]
        width = self.width
        for next_width in self.hidden:
            layers += [nn.Dropout(self.dropout), nn.Linear(width, next_width), nn.ReLU()]
            width = next_width
        return nn.Sequential(*layers, nn.Dropout(self.dropout)), width


class _Block(nn.Module):
    """Self-attention and a dense layer, each normalised before and added to its input.

    Attention is written out: forward-mode derivatives (IRW) do not exist for torch's fused one.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
            nn.Linear(4 * width, width), nn.Dropout(dropout),
        )  # fmt: skip

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        b, length, width = tokens.shape
        split = self.query_key_value(self.before_attention(tokens))
        q, k, v = split.view(b, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
        scores = scores.masked_fill(~mask[:, None, None], -torch.inf)
        mixed = (self.dropout(scores.softmax(-1)) @ v).transpose(1, 2).reshape(b, length, width)
        tokens = tokens + self.dropout(self.mix(mixed))
        result: Tensor = tokens + self.dense(tokens)
        return result


class _Encoder(nn.Module):
    def __init__(self, sizes: Sizes, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocab_size, width, padding_idx=PADDING)
        self.position = nn.Parameter(torch.randn(sizes.input_shape[0], width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        mask = x != PADDING
        longest = x.shape[1]
        tokens = self.dropout(self.embedding(x) + self.position[:longest])
        for block in self.blocks:
            tokens = block(tokens, mask)
        return _mean(self.norm(tokens), mask)


class TransformerEncoder(Network):
    """A small transformer trained from scratch; features are the mean over the tokens.

    Args:
        width: Size D of a token's vector, divisible by ``heads``.
        layers: Number of blocks of attention and dense layers (pre-norm, GELU, 4 D wide).
        heads: Number of attention heads.
        dropout: Dropout rate, in [0, 1).

    Raises:
        UserError: If a number is not positive, or heads do not divide the width.

    Example:
        >>> net = TransformerEncoder(width=8, layers=1, heads=2)
        >>> net.bind(Sizes(3, 2, (5,), vocab_size=20))
        >>> net(torch.tensor([[3, 4, 4, 0, 0]]))[1].shape
        torch.Size([1, 3])
    """

    reads_text = True
    padding = 0

    def __init__(
        self, width: Count = 64, layers: Count = 2, heads: Count = 4, dropout: Share = 0.1
    ) -> None:
        super().__init__()
        self.width = width
        self.layers = layers
        self.heads = heads
        self.dropout = dropout
        if width % heads:
            raise UserError(
                f"TransformerEncoder.width must be a multiple of heads, got {width} and {heads}."
            )

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the encoder and D."""
        return _Encoder(sizes, self.width, self.layers, self.heads, self.dropout), self.width


class _Pretrained(nn.Module):
    def __init__(self, model: nn.Module, padding: int, pooling: str) -> None:
        super().__init__()
        self.model = model
        self.padding = padding
        self.pooling = pooling

    def forward(self, x: Tensor) -> Tensor:
        mask = x != self.padding
        first = torch.arange(x.shape[1], device=x.device) == 0
        mask = mask | (first & ~mask.any(1, keepdim=True))  # an empty text is one token
        tokens: Tensor = self.model(input_ids=x, attention_mask=mask.long()).last_hidden_state
        if self.pooling == "mean":
            return _mean(tokens, mask)
        last = mask.long().cumsum(1).argmax(1)
        place = last if self.pooling == "last" else torch.zeros_like(last)
        return tokens[torch.arange(len(x), device=x.device), place]


class PretrainedText(Network):
    """A pretrained encoder or decoder from a local folder of Hugging Face's format.

    Nothing is downloaded. Give the same folder as ``data.tokenizer``. A checkpoint keeps the
    architecture and the weights and does not need the folder again. Of a model with encoder and
    decoder (T5) the encoder is used.

    Args:
        path: Folder with ``config.json`` and weights.
        freeze: Keep the encoder fixed, in evaluation mode; only the head is trained.
        pooling: Features are the first token's vector, the mean over tokens, or the vector of
            the last token. The default is last for a causal model (GPT-2), where no other token
            sees the whole text; mean for the encoder of a pair; first for others (BERT).
        padding: Token id of padding; by default that of the configuration, or without one its
            end-of-text token, as ``data.tokenizer`` has it.
        config: The architecture, filled in from the folder; not for people.

    Raises:
        UserError: If transformers is not installed, the folder holds no model of texts, its
            vocabulary is smaller than the data's, or it has fewer positions than the data tokens.
    """

    reads_text = True
    needs_tokenizer = True
    pretrained = True
    transient_arguments: ClassVar[dict[str, Any]] = {"path": None}

    def __init__(
        self,
        path: str | None = None,
        freeze: bool = False,
        pooling: Literal["first", "mean", "last"] | None = None,
        padding: NotNegativeInt | None = None,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.freeze = freeze
        self.pooling = pooling
        self.padding = padding
        self.config = config

    def build(self, sizes: Sizes) -> tuple[nn.Module, int]:
        """Return the encoder and its width."""
        transformers = import_extra("transformers", "Pretrained text models need", "text")
        if self.path is not None:
            model = self._load(transformers)
            self.config = json.loads(model.config.to_json_string(use_diff=False))
        elif self.config is not None:
            config = transformers.AutoConfig.for_model(**self.config)
            model = transformers.AutoModel.from_config(config)
        else:
            raise UserError("model.network.path: give the local folder of a pretrained encoder.")
        options = model.config
        pair = bool(getattr(options, "is_encoder_decoder", False))
        if pair:
            model = model.get_encoder()
        self._check_sizes(model, options, sizes)
        if self.padding is None:
            self.padding = _padding_of(options)
        width, causal = _tried(model, self.path)
        if self.pooling is None:
            self.pooling = "last" if causal else "mean" if pair else "first"
        if hasattr(model.config, "use_cache"):
            model.config.use_cache = False  # nothing is generated
        if self.freeze:
            model.requires_grad_(False)
        return _Pretrained(model, self.padding, self.pooling), width

    @staticmethod
    def _check_sizes(model: Any, options: Any, sizes: Sizes) -> None:
        """Compare token ids and positions with those of the data."""
        known = getattr(options, "vocab_size", None)
        if not isinstance(known, int):
            raise UserError(
                f"model.network.path: {type(model).__name__} is no model of texts: its "
                "configuration has no vocab_size."
            )
        if known < sizes.vocab_size:
            raise UserError(
                f"The encoder knows {known} token ids, the data has "
                f"{sizes.vocab_size}; set data.tokenizer to the encoder's own folder."
            )
        limit, length = _positions_of(model, options), sizes.input_shape[0]
        if limit is not None and length > limit:
            raise UserError(
                f"data.max_length: {length} tokens are more than the {limit} positions of the "
                f"encoder; set --data.max_length {limit}, or less."
            )

    def _load(self, transformers: ModuleType) -> Any:
        folder = Path(str(self.path))
        if not (folder / "config.json").is_file():
            raise UserError(f"model.network.path: {folder} holds no config.json of a model.")
        try:
            return transformers.AutoModel.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"model.network.path: {folder} cannot be loaded: {reason}") from error

    def train(self, mode: bool = True) -> PretrainedText:
        """Set the mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.freeze and hasattr(self, "backbone"):
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features [B, D] and logits [B, C]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = self.backbone(x)
        return features, self.head(features)


def _positions_of(model: Any, options: Any) -> int | None:
    """Return how many tokens a model takes, None where its configuration names no limit."""
    limit = getattr(options, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit < 1:
        return None
    words = model.get_input_embeddings()
    for module in model.modules():
        table = isinstance(module, nn.Embedding) and module is not words
        if table and module.num_embeddings == limit and module.padding_idx is not None:
            return int(limit - module.padding_idx - 1)  # RoBERTa counts positions from there on
    return limit


def _padding_of(options: Any) -> int:
    """Return the token id of padding, or else of the end of a text."""
    for name in ("pad_token_id", "eos_token_id"):
        found = getattr(options, name, None)
        found = found[0] if isinstance(found, list) and found else found
        if isinstance(found, int) and found >= 0:
            return found
    raise UserError(
        "The encoder's configuration names no padding token; give --model.network.padding N, the "
        "id with which data.tokenizer pads."
    )


def _tried(model: Any, path: str | None) -> tuple[int, bool]:
    """Encode two pairs of tokens that differ in the second: its width, and whether it is causal.

    In a causal model the first token's vector does not depend on the second token.
    """
    top = model.config.vocab_size - 1
    x = torch.tensor([[top, top], [top, top // 2]])
    training = model.training
    try:
        with torch.no_grad():
            mask = torch.ones_like(x)
            tokens = model.eval()(input_ids=x, attention_mask=mask).last_hidden_state
        first = tokens[:, 0]
    except Exception as error:  # of a model that reads other inputs
        reason = " ".join(str(error).split())
        raise UserError(
            f"model.network.path: {path or type(model).__name__} does not encode token ids "
            f"({type(error).__name__}: {reason:.200}); give a text model."
        ) from error
    finally:
        model.train(training)
    return int(tokens.shape[-1]), bool(torch.allclose(first[0], first[1], rtol=1e-5, atol=1e-6))
