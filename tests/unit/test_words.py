"""What README and docs say can be followed: links lead somewhere, commands and their options exist, specs are valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from w2v2_ray.cli.app import app
from w2v2_ray.errors import UserError
from w2v2_ray.spec.loading import load_job_text

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s#]*)(?:#([^)\s]*))?\)")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
README_LIMIT = 9_000


def anchors(page):
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(FENCE, "", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(page):
    for target, anchor in LINK.findall(re.sub(FENCE, "", page.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists():
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(path):
            yield f"{target}#{anchor}: no such heading"


def commands(text):
    """Arguments of every `w2v2-ray` command in the shell blocks of a page."""
    for language, block in FENCE.findall(text):
        if language not in {"sh", "bash"}:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "w2v2-ray" in words:
                arguments = words[words.index("w2v2-ray") + 1 :]
                ends = [n for n, word in enumerate(arguments) if word in {"|", ">", "&&", "<", ";"}]
                yield arguments[: ends[0]] if ends else arguments


def misunderstood(arguments):
    """Why the command line would not be understood; None when it would."""
    # By what it has, not by its class: typer brings a copy of click of its own in some versions.
    command = typer.main.get_command(app)
    context = command.context_class(command, info_name="w2v2-ray")
    arguments = [word for word in arguments if word != "..."]
    while hasattr(command, "get_command"):
        if not arguments:
            return "no command"
        name = arguments.pop(0)
        found = command.get_command(context, name)
        if found is None:
            return f"no command {name}"
        command, context = found, found.context_class(found, info_name=name, parent=context)
    try:
        command.make_parser(context).parse_args(arguments)
    except Exception as error:
        message = getattr(error, "format_message", None)
        return message() if message else repr(error)
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert list(broken_links(page)) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_with_their_options(page):
    found = [(shlex.join(words), misunderstood(words)) for words in commands(page.read_text(encoding="utf-8"))]
    assert [(words, why) for words, why in found if why is not None] == []


def test_the_readme_has_commands_and_is_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(list(commands(text))) >= 10
    assert len(text.encode()) <= README_LIMIT


def test_job_specs_in_the_words_are_valid():
    checked = 0
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text(encoding="utf-8")):
            if language == "yaml" and block.startswith(("kind: pretrain", "kind: finetune")):
                load_job_text(block, page.name)
                checked += 1
    assert checked >= 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["prepare", "a", "--out", "b"], None),
        (["prepare", "a", "--uot", "b"], "No such option"),
        (["prepaer", "a"], "no command"),
        (["bench", "step", "--precision", "bf16"], None),
        (["bench", "stepp"], "no command"),
    ],
)
def test_a_planted_mistake_is_found(words, why):
    found = misunderstood(words)
    assert (found is None) == (why is None)
    assert why is None or why.lower() in str(found).lower()


def test_a_planted_broken_link_is_found(tmp_path):
    (tmp_path / "other.md").write_text("# A heading\n")
    page = tmp_path / "page.md"
    page.write_text("[a](other.md#a-heading) [b](other.md#none) [c](gone.md) [d](https://example.org/x)\n")
    assert list(broken_links(page)) == ["other.md#none: no such heading", "gone.md: no such file"]


def test_a_broken_spec_would_be_found():
    with pytest.raises(UserError):
        load_job_text("kind: pretrain\npreset: none\n", "page")
