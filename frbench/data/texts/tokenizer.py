"""A Hugging Face tokenizer from a local folder, which pads whatever its model does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from frbench.contracts.errors import UserError
from frbench.support.lazy import import_extra


def load_tokenizer(folder: str) -> Any:
    """Load a tokenizer that pads at the end of a text.

    Decoders often have no padding token: their end-of-text token then fills texts up.

    Args:
        folder: Local folder with the tokenizer's files; nothing is downloaded.

    Raises:
        UserError: If the folder holds no tokenizer, or neither token is defined.
    """
    try:
        found = import_extra(
            "transformers", "Pretrained text models need", "text"
        ).AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"data.tokenizer: {folder} holds no tokenizer ({reason:.200}); give the local folder "
            "of a pretrained model with its tokenizer files."
        ) from error
    if found.pad_token_id is None:
        if found.eos_token_id is None:
            raise UserError(
                f"data.tokenizer: {folder} has neither a padding token nor an end-of-text token; "
                'write "pad_token": "TOKEN", one of its tokens, into its tokenizer_config.json.'
            )
        found.pad_token = found.eos_token
    found.padding_side = "right"  # positions of a text's tokens must not depend on its length
    return found


def num_ids(tokenizer: Any) -> int:
    """Return the number of token ids that an embedding needs; ids may have gaps."""
    return max(len(tokenizer), max(tokenizer.get_vocab().values(), default=-1) + 1)


def lengths(tokenizer: Any, texts: Sequence[tuple[str, ...]]) -> list[int]:
    """Count the tokens of rows of one or two texts, before any is cut."""
    columns = map(list, zip(*texts, strict=True))
    return list(map(len, tokenizer(*columns, verbose=False)["input_ids"]))
