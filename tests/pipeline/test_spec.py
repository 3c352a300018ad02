from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from graphrev.errors import UsageError
from graphrev.passes import REGISTRY, Reversible
from graphrev.pipeline import Pass
from graphrev.pipeline.spec import describe, parse_pass


@dataclass(frozen=True)
class Prunes(Pass[Any]):
    name: ClassVar[str] = "prunes"
    kind: Literal["hard", "soft"] = "hard"
    every: int = 4
    share: float | None = None
    dry: bool = False
    keep: tuple[str, ...] = ()
    label: str = "x"

    def analyze(self, graph: Any) -> Any: ...

    def apply(self, plan: Any, editor: Any) -> None: ...


KNOWN = {"prunes": Prunes, "cleans": Prunes}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("prunes", Prunes()),
        (" prunes { } ", Prunes()),
        ("prunes{every=7}", Prunes(every=7)),
        ("prunes{kind=soft,every=-1,share=0.5}", Prunes("soft", -1, 0.5)),
        ("prunes{ kind = soft , every = 2 }", Prunes("soft", 2)),
        ("prunes{share=none}", Prunes()),
        ("prunes{share=1e-3}", Prunes(share=1e-3)),
        ("prunes{dry}", Prunes(dry=True)),
        ("prunes{dry=true}", Prunes(dry=True)),
        ("prunes{dry=False}", Prunes()),
        ("prunes{dry=0}", Prunes()),
        ("prunes{keep=a:0; b/c:1 ;}", Prunes(keep=("a:0", "b/c:1"))),
        ("prunes{keep=}", Prunes()),
        ('prunes{label="a,b",every=2}', Prunes(label="a,b", every=2)),
        ("prunes{label=f(a,b)}", Prunes(label="f(a,b)")),
        ("prunes{label=a=b}", Prunes(label="a=b")),
        ("prunes\n{every=7}", Prunes(every=7)),
    ],
)
def test_pass_is_read_with_its_options(text: str, read: Prunes) -> None:
    assert parse_pass(text, KNOWN) == read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no pass. Write name"),
        ("prunes{", "is no pass"),
        ("prunes{every=1}x", "is no pass"),
        ("prune", "no pass 'prune'. Did you mean 'prunes'?"),
        ("quite-else", "There are: cleans, prunes."),
        ("prunes{evry=1}", "no option 'evry'. Did you mean 'every'?"),
        ("prunes{every}", r"prunes{every=…} needs a value"),
        ("prunes{every=x}", "takes an int, not 'x'"),
        ("prunes{every=1.5}", "takes an int, not '1.5'"),
        ("prunes{share=x}", "takes a float, not 'x'"),
        ("prunes{dry=maybe}", "takes true or false, not 'maybe'"),
        ("prunes{kind=sof}", "cannot be 'sof'. Did you mean 'soft'?"),
        ("prunes{kind}", "needs a value"),
        ("prunes{every=1,every=2}", "given the option 'every' twice"),
        ("prunes{label=(a}", "hold a '(' that is never closed: label=(a"),
        ('prunes{every=1,label="a}', "hold a '\"' that is never closed"),
        ("a\x1b[2J", r"no pass 'a\x1b[2J'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_nearest_word(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_pass(text, KNOWN)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()


def test_real_passes_are_read_by_the_name_they_are_registered_under() -> None:
    for name, kind in REGISTRY.items():
        assert kind.name == name
        assert parse_pass(name, REGISTRY) == kind()
    read = parse_pass("reversible{detect=structural,anchor_every=4}", REGISTRY)
    assert read == Reversible(detect="structural", anchor_every=4)


def test_description_names_every_option_with_what_it_takes_and_its_default() -> None:
    assert describe(Prunes) == (
        ("kind", "hard | soft", "hard"),
        ("every", "whole number", "4"),
        ("share", "number | none", "none"),
        ("dry", "true | false", "false"),
        ("keep", "text;text;…", "none"),
        ("label", "text", "x"),
    )
