"""Text as padded token ids: a vocabulary of the training rows, tables of texts."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from frbench.contracts.batch import Sizes
from frbench.contracts.errors import UserError
from frbench.contracts.ranges import Count, Interval
from frbench.data.categorical import Categorical, texts
from frbench.data.learnt import CHUNK, NewRows
from frbench.data.module import GroupDataModule
from frbench.data.reading import table_parts
from frbench.data.table import Table
from frbench.data.tables.table_data import TableData
from frbench.data.texts.tokenizer import lengths, load_tokenizer, num_ids

if TYPE_CHECKING:
    import pandas as pd

#: Ids that are no words. Padding is 0 here; a tokenizer of one's own may have another id.
PADDING, UNKNOWN, SEPARATOR, FIRST_WORD = range(4)
#: Training texts whose lengths are counted.
_COUNTED = 1000
_WORD = re.compile(r"\w+(?:'\w+)*")


def words(text: str) -> list[str]:
    """Split a text into lower-case words.

    Example:
        >>> words("Don't, he SAID: 2 amps!")
        ["don't", 'he', 'said', '2', 'amps']
    """
    return _WORD.findall(text.lower())


class Vocabulary:
    """The words of a model and their ids: 0 pads, 1 is any other word, 2 separates two texts.

    Args:
        known: Words in the order of their ids, from 3 on.

    Example:
        >>> Vocabulary(["good", "bad"]).encode([["Good", "bad guitar"]], 6).tolist()
        [[3, 2, 4, 1, 0, 0]]
    """

    def __init__(self, known: Sequence[str]) -> None:
        self.known = list(known)
        self._ids = {word: i for i, word in enumerate(self.known, start=FIRST_WORD)}

    @classmethod
    def learn(cls, texts: Sequence[Sequence[str]], max_words: int, min_count: int) -> Vocabulary:
        """Take the most frequent words of the training rows, equal ones by alphabet.

        Args:
            texts: One or two texts of each row.
            max_words: Number of ids, the three special ones included.
            min_count: Words that occur less often are unknown.
        """
        counts = Counter(word for row in texts for text in row for word in words(text))
        often = sorted((-n, word) for word, n in counts.items() if n >= min_count)
        return cls([word for _, word in often[: max_words - FIRST_WORD]])

    def encode(self, texts: Sequence[Sequence[str]], max_length: int) -> np.ndarray:
        """Turn rows of one or two texts into ids, int32 [N, max_length], padded at the end.

        Of two texts that are too long together, the longer one loses words first. A row without
        any word is one unknown word, so that no network averages over nothing.
        """
        out = np.zeros((len(texts), max_length), dtype=np.int32)
        for line, row in zip(out, texts, strict=True):
            ids = [[self._ids.get(word, UNKNOWN) for word in words(text)] for text in row]
            if len(ids) == 2:
                room = max_length - 1
                second = min(len(ids[1]), max(room // 2, room - len(ids[0])))
                ids = [[*ids[0][: room - second], SEPARATOR, *ids[1][:second]]]
            kept = ids[0][:max_length] or [UNKNOWN]
            line[: len(kept)] = kept
        return out


class TextInputs(GroupDataModule):
    """Inputs that are texts: x of every table is a DataFrame with one or two columns.

    The vocabulary is learnt on the training split and stored with the checkpoint: another table
    is encoded by the words that the model was trained with. The number of ids is ``max_words``
    whatever the texts hold, so that the sizes of a model do not depend on them.

    Args:
        max_words: Number of token ids: 3 special ones and the most frequent words.
        min_count: Words that occur less often in training are unknown.
        max_length: Number of tokens L; longer rows are cut, shorter ones padded.
        tokenizer: Local folder of a Hugging Face tokenizer to use in place of words, that of
            ``PretrainedText``; then max_words and min_count have no effect. Without a padding
            token its end-of-text token fills texts up.
        **kwargs: As for the next class.

    Raises:
        UserError: For sizes that leave no room, a folder that holds no tokenizer, or a tokenizer
            that cannot pad.
    """

    def __init__(
        self,
        max_words: Annotated[int, Interval(FIRST_WORD + 1)] = 5000,
        min_count: Count = 2,
        max_length: Annotated[int, Interval(3)] = 128,
        tokenizer: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.max_words = max_words
        self.min_count = min_count
        self.max_length = max_length
        self.tokenizer = tokenizer

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The words of the training split, or those of a checkpoint."""
        if self.restored is not None:
            return Vocabulary(self.restored["vocabulary"])
        found = Vocabulary.learn(rows_of(self.splits["train"].x), self.max_words, self.min_count)
        if not found.known:
            raise UserError(
                f"No word occurs {self.min_count} times in the training texts; lower "
                "data.min_count or look at the text column."
            )
        return found

    def learn(self) -> dict[str, Any]:
        """Return the words, or what identifies the tokenizer, and the number of tokens."""
        learnt = {**super().learn(), "max_length": self.max_length, "max_words": self.max_words}
        if self.tokenizer:
            return {**learnt, "tokenizer": self._tokenizer_identity}
        return {**learnt, "vocabulary": self.vocabulary.known}

    def restore(self, learnt: dict[str, Any]) -> None:
        """Encode by the words of a checkpoint; another tokenizer is refused."""
        super().restore(learnt)
        self.max_length = learnt.get("max_length", self.max_length)
        self.max_words = learnt.get("max_words", self.max_words)
        vars(self).pop("vocabulary", None)
        theirs = learnt.get("tokenizer")
        if theirs and (not self.tokenizer or self._tokenizer_identity != theirs):
            raise UserError(
                "data.tokenizer: the checkpoint was trained with another tokenizer "
                f"({theirs['class']}, {theirs['size']} tokens); give the folder of that one."
            )

    @property
    def _tokenizer_identity(self) -> dict[str, Any]:
        """Class, size and hash of the ids, by which a tokenizer is recognised."""
        ids = json.dumps(sorted(self._tokenizer.get_vocab().items()))
        return {
            "class": type(self._tokenizer).__name__,
            "size": len(self._tokenizer),
            "hash": hashlib.sha256(ids.encode()).hexdigest()[:16],
        }

    # ---- rows of other files ----------------------------------------------------------------
    @property
    def text_columns(self) -> list[str]:
        """Columns of another file that hold the texts."""
        return ["text"]

    def new_parts(self, source: Any, chunk: int = CHUNK) -> Iterator[pd.DataFrame]:
        """Read a table, or take a DataFrame or a list of texts, in parts."""
        if isinstance(source, list | tuple):
            import pandas as pd

            source = pd.DataFrame({self.text_columns[0]: pd.Series(source, dtype=object)})
        yield from table_parts(source, chunk, **self.reading)

    def new_rows(self, part: pd.DataFrame) -> NewRows:
        """Take the text columns, and ``y`` and ``z`` where the file has them."""
        for name in self.text_columns:
            if name not in part.columns:
                raise UserError(
                    f"There is no column {name!r} of texts; the columns are: "
                    f"{', '.join(map(str, part.columns))}."
                )
        y, z = (texts(part[k]) if k in part.columns else None for k in ("y", "z"))
        return NewRows(part[self.text_columns], y, z, part)

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(str(self.tokenizer))

    @property
    def padding(self) -> int:
        """Token id of what fills texts up."""
        return int(self._tokenizer.pad_token_id) if self.tokenizer else PADDING

    @cached_property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return num_ids(self._tokenizer) if self.tokenizer else self.max_words

    def _length_notes(self, x: pd.DataFrame) -> list[str]:
        """Say how many of the first training texts are cut."""
        rows = rows_of(x[:_COUNTED])
        if self.tokenizer:
            found = lengths(self._tokenizer, rows)
        else:
            found = [sum(len(words(text)) for text in row) + len(row) - 1 for row in rows]
        if not (cut := sum(length > self.max_length for length in found)):
            return []
        return [
            f"{cut} of the first {len(rows)} training texts have more than {self.max_length} "
            f"tokens and are cut (the longest has {max(found)}); see --data.max_length"
        ]

    def encode(self, x: pd.DataFrame) -> np.ndarray:
        """Turn texts into token ids, int32 [N, L]."""
        texts = rows_of(x)
        if not self.tokenizer:
            return self.vocabulary.encode(texts, self.max_length)
        found = self._tokenizer(
            *map(list, zip(*texts, strict=True)),
            truncation=True,
            padding="max_length",
            max_length=self.max_length,
        )
        return np.asarray(found["input_ids"], dtype=np.int32)


def rows_of(x: pd.DataFrame) -> list[tuple[str, ...]]:
    """Texts of each row; a missing one is empty."""
    columns = (x[name].fillna("").astype(str) for name in x.columns)
    return list(zip(*columns, strict=True))


class TextTable(TextInputs, TableData):
    """Your own texts: one or two text columns, a target and an attribute column.

    Args:
        path: A ``.csv``, ``.jsonl`` (one object a line) or ``.parquet`` file.
        text: The text column, or two (premise and hypothesis).
        target: Column of the labels.
        attribute: Column of the attribute z, or several; with ``attribute_words`` a text column.
        attribute_words: The attribute is whether the text of its column holds one of these words
            (``without``, ``with``), as for the negations of MultiNLI. In YAML quote "no".
        **kwargs: As for :class:`TextInputs` and, about rows, labels, attributes and splits, for
            :class:`~frbench.data.tables.table_data.TableData`.

    Raises:
        UserError: On first use of the data, for a file, column, value, split or option that
            cannot be used.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.csv"
        >>> rows = ["good,x,1", "very good,y,1", "bad,x,0", "not good,y,0"] * 10
        >>> _ = path.write_text(chr(10).join(["note,place,liked", *rows]))
        >>> data = TextTable(str(path), "note", "liked", "place", max_words=50, max_length=4)
        >>> data.vocabulary.known, data.encode(data.splits["test"].x[:1]).shape
        (['good', 'bad', 'not', 'very'], (1, 4))
    """

    def __init__(
        self,
        path: str,
        text: str | list[str],
        target: str,
        attribute: str | list[str],
        attribute_words: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("drop", "categorical", "numeric", "attribute_as_input"):
            if kwargs.get(name):
                raise UserError(f"data.{name} has no effect on a TextTable; remove it.")
        super().__init__(path=path, target=target, attribute=attribute, **kwargs)
        self.text = text
        self.attribute_words = attribute_words

    @property
    def text_columns(self) -> list[str]:
        """The text columns."""
        return [self.text] if isinstance(self.text, str) else list(self.text)

    @property
    def sizes(self) -> Sizes:  # type: ignore[override]
        """Numbers of classes and attribute values from the data, of tokens from the options."""
        num_classes, num_attributes = len(self.class_names), len(self.attribute_names)
        return Sizes(num_classes, num_attributes, (self.max_length,), self.vocab_size)

    def _inputs(self, frame: pd.DataFrame) -> list[str]:
        if len(self.text_columns) not in (1, 2):
            raise self._error("data.text must name one column or two.")
        return self.text_columns

    def _check_columns(self, frame: pd.DataFrame) -> None:
        self._check_names(frame, {"text": self.text_columns})
        super()._check_columns(frame)

    def _attribute(self, column: pd.Series) -> Categorical:
        return self._by_words(column) or super()._attribute(column)

    def _attribute_texts(self, column: pd.Series) -> np.ndarray:
        found = self._by_words(column)
        if found is None:
            return super()._attribute_texts(column)
        result: np.ndarray = np.array(found.names, dtype=object)[found.codes]
        return result

    def _by_words(self, column: pd.Series) -> Categorical | None:
        """Whether a text holds one of the attribute's words."""
        if self.attribute_words is None:
            return None
        wanted = {word.lower() for word in self.attribute_words}
        codes = [bool(wanted.intersection(words(text))) for text in column.fillna("").astype(str)]
        return Categorical(np.asarray(codes, dtype=np.int64), ["without", "with"])

    def _remarks(self, frame: pd.DataFrame, used: list[str]) -> list[str]:
        return super()._remarks(frame, [name for name in used if name not in self.text_columns])

    def _column_notes(self, tables: dict[str, Table]) -> list[str]:
        return self._length_notes(tables["train"].x)  # unknown words have an id of their own

    def unseen(self, x: pd.DataFrame) -> dict[str, int]:
        """Nothing: unknown words have an id of their own."""
        return {}

    def _learnt_columns(self) -> dict[str, Any]:
        return {}

    @property
    def _input_columns(self) -> dict[str, bool]:
        return dict.fromkeys(self.text_columns, False)

    def new_rows(self, part: pd.DataFrame) -> NewRows:
        """Take texts, labels and attributes by the columns of the options."""
        return TableData.new_rows(self, part)
