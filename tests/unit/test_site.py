"""The documentation as a site: the navigation, the pictures, the links to the repository, the dashboard, the language.

What needs no generator is checked here; `make docs` builds the site and checks every link and anchor once more.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_hf_endpoints.operators.common import metrics

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
READ = [*sorted(ROOT.glob("*.md")), *PAGES]
# Phrases that a reader has to read twice, each with what to write. See CONTRIBUTING, "How the text reads".
HABITS = {
    "becomes of": "say what happens to it",
    "anew": "again",
    "for good": "without a retry, or finally",
    "can't be had": "is not available",
    "Nobody here": "say what is not known",
    "passes for": "is taken for",
    "come to nothing": "fail",
    "came to nothing": "failed",
    "as far as": "if, or where",
    "all but a twentieth": "the 95th percentile",
}


def page_id(path: Path) -> str:
    return str(path.relative_to(ROOT))


class _Loader(yaml.SafeLoader):
    """The configuration has a tag of Python's, for the generator."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def configuration() -> dict[str, Any]:
    return dict(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=_Loader))


def named(entries: list[Any]) -> Iterator[str]:
    """The pages of a navigation, at any depth."""
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from [value] if isinstance(value, str) else named(value)


def test_the_navigation_names_every_page_once() -> None:
    """A page that readers cannot find is useless, and a name without a page is a dead link."""
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES}
    told = sorted(named(configuration()["nav"]))
    assert sorted(set(told)) == told
    assert pages == set(told)


@pytest.mark.parametrize("page", READ, ids=page_id)
def test_pictures_are_there_and_have_a_text(page: Path) -> None:
    """Every picture of a page is a file of the repository and says in words what it shows."""
    for words, path in re.findall(r"!\[([^\]]*)\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        assert words, path
        local = path.removeprefix(f"{repository()}/raw/main/")
        folder = ROOT if local != path else page.parent
        assert (folder / local).is_file(), path


def repository() -> str:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"])


@pytest.mark.parametrize("page", READ, ids=page_id)
def test_links_to_the_repository_name_a_file_and_a_heading(page: Path) -> None:
    """A whole URL of this repository, as the index of packages needs, leads to what is there."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for path, anchor in re.findall(rf"{re.escape(repository())}/(?:blob|tree|raw)/main/([^)\s#]*)#?([^)\s]*)", text):
        target = ROOT / path
        assert target.exists(), path
        assert not anchor or anchor in headings(target.read_text(encoding="utf-8")), (path, anchor)


def headings(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_configuration_names_the_same_repository() -> None:
    """Site, package and pages lead to one place."""
    assert repository() == configuration()["repo_url"]


def test_the_dashboard_asks_for_metrics_that_are_sent() -> None:
    """Each name in the dashboard's queries is one of the page of metrics, as the exporter writes it."""
    dashboard = json.loads((DOCS / "operations" / "grafana_dashboard.json").read_text(encoding="utf-8"))
    queries = json.dumps([dashboard["panels"], dashboard["templating"]])
    asked = set(re.findall(r"airflow_(hf_endpoints_\w+)", queries))
    page = (DOCS / "operations" / "metrics.md").read_text(encoding="utf-8")
    told = set()
    for row in re.findall(r"^\| (`hf_endpoints\.[^|]*) \|", page, re.MULTILINE):
        first, *others = re.findall(r"`([\w.]+)`", row)
        stem = first if others and others[0].startswith("_") else first.rpartition(".")[0]
        told |= {first, *(f"{stem.rpartition('_')[0] if each.startswith('_') else stem}{each}" for each in others)}
    assert {metrics.PREFIX, "hf_endpoints.cost"} == {name.rpartition(".")[0] for name in told}
    assert asked == {name.replace(".", "_") for name in told}


@pytest.mark.parametrize("page", READ, ids=page_id)
def test_the_text_has_none_of_the_habits(page: Path) -> None:
    """Plain technical English: none of the phrases that were replaced comes back."""
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = re.sub(r"\s+", " ", text)
    assert {} == {phrase: better for phrase, better in HABITS.items() if re.search(rf"\b{phrase}\b", text)}


def test_every_page_that_a_text_names_is_there() -> None:
    """A message or a docstring that sends a reader to `docs/….md` names a page of this version."""
    package = ROOT / "airflow_provider_hf_endpoints"
    told = {
        (str(source.relative_to(ROOT)), page)
        for source in package.rglob("*.py")
        for page in re.findall(r"(?<![\w/.])docs/[\w/]+\.md", source.read_text(encoding="utf-8"))
    }
    # Other projects' pages, which rest as a source.
    others = {"docs/endpoint-provisioning.md", "docs/architecture.md"}
    assert told
    assert [] == sorted(each for each in told if each[1] not in others and not (ROOT / each[1]).exists())


# What a page quotes: the page, the file that writes it, and the text there.
QUOTED = (
    ("how_to/events.md", "triggers/events.py", "Watching endpoint %s, which is %s."),
    ("operations/alerting.md", "operators/using/release.py", "is not released yet"),
    ("operations/alerting.md", "operators/common/emergency.py", "MAY STILL BE BILLING"),
    ("operations/costs.md", "operators/common/cost_report.py", "Cost of this run: %s"),
    (
        "operations/metrics.md",
        "inference/sending/progress.py",
        "  recovered {kind}: {count} requests failed, every row succeeded on retry; the first: {words}",
    ),
    ("reference/connection.md", "hooks/diagnosis.py", "The token belongs to {me.name}{role}. Namespaces: {sees}."),
    ("reference/connection.md", "hooks/diagnosis.py", "The token lacks these permissions for {namespace}: {scopes}."),
)


@pytest.mark.parametrize(("page", "source", "template"), QUOTED)
def test_what_a_page_quotes_is_what_the_code_writes(page: str, source: str, template: str) -> None:
    """A log line that a page shows, and that readers search or alert on, changes together with the page."""
    assert template in (ROOT / "airflow_provider_hf_endpoints" / source).read_text(encoding="utf-8")
    pattern = re.sub(r"%s|\\\{.+?\\\}", ".+?", re.escape(template))
    assert re.search(pattern, (DOCS / page).read_text(encoding="utf-8"))
