"""The parser's long messages as one line; the parser itself is exercised in test_cli.py."""

import pytest
from promises import found

from frbench.contracts.errors import UserError
from frbench.networks import Network
from frbench.runs.messages import cause, known_classes, readable


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that other tests define are known as well, while they are imported."""
    monkeypatch.setattr(
        "frbench.runs.messages.known_classes", lambda base: [c.__name__ for c in found(base)]
    )


def nested(key: str, inner: str) -> str:
    return (
        f'Parser key "{key}":\n  Does not validate against any of the Union subtypes\n'
        "  Subtypes: [<class 'frbench.training.objective.Objective'>, <class 'NoneType'>]\n"
        f"  Errors:\n    - {inner}\n    - Expected a <class 'NoneType'>\n"
        "  Given value type: <class 'str'>\n  Given value: GrupDRO"
    )


def test_a_user_error_is_found_however_deep() -> None:
    try:
        try:
            try:
                raise UserError("the remedy")
            except UserError as error:
                raise ValueError("wrapped") from error
        except ValueError:
            raise TypeError("wrapped again")  # noqa: B904 - the context alone must do
    except TypeError as error:
        found = cause(error)
    assert str(found) == "the remedy"
    assert cause(ValueError("something else")) is None
    assert cause(None) is None


def test_known_classes_leave_out_abstract_and_private_ones() -> None:
    class _Private(Network):
        def build(self, sizes): ...

    class Shown(_Private): ...

    class Unfinished(Network): ...

    names = known_classes(Network)
    assert {"MLP", "SmallCNN", "Timm", "Shown"} <= set(names)
    assert not {"Network", "_Private", "Unfinished"} & set(names)
    assert names == sorted(names)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            nested("model", "Expected a dot import path string: GrupDRO"),
            "model: there is no class 'GrupDRO'; did you mean GroupDRO? A class of your own is "
            "given by its import path, my_file.MyClass.",
        ),
        (
            nested(
                "model",
                "Problem with given class_path 'frbench.objectives.ERM': Option 'lrr' is not "
                "accepted",
            ),
            "model: ERM has no option 'lrr'; did you mean lr?",
        ),
        (
            nested("model", "Import path does not correspond to a subclass of Objective"),
            "model: 'GrupDRO' is not a subclass of Objective.",
        ),
        (
            "Subcommand 'fit' does not accept option 'trainer.max_epoch'",
            "there is no option --trainer.max_epoch; did you mean --trainer.max_epochs?",
        ),
        (
            "unrecognized arguments: --trainer.max_epoch=3",
            "there is no option --trainer.max_epoch; did you mean --trainer.max_epochs?",
        ),
        (
            "unrecognized arguments: payment",
            "'payment' belongs to no option: put a value with spaces in quotes, --x 'a value'.",
        ),
        ("unrecognized arguments: --zzz", "there is no option --zzz; see --help."),
        (
            "the following arguments are required: fit.data",
            "--data is missing: name a data set, --data Digits say.",
        ),
    ],
)
@pytest.mark.usefixtures("only_ours")
def test_messages(message: str, expected: str) -> None:
    assert readable(message, options=["trainer.max_epochs", "data"]) == expected


def test_linked_arguments_are_not_suggested() -> None:
    message = nested(
        "model",
        "Problem with given class_path 'frbench.objectives.ERM': Option 'num_clases' is not "
        "accepted",
    )
    assert "did you mean num_classes" in readable(message)
    assert "num_classes" not in readable(message, hidden=("num_classes",))


def test_an_unknown_message_stays_short_and_on_one_line() -> None:
    text = readable("something\nnew " * 500)
    assert text.startswith("something new something")
    assert "\n" not in text and len(text) <= 600
