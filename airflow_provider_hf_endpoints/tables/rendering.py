"""How the values of a table's input and output are rendered: their texts by Jinja, `.sql` files included.

Airflow would write the rendered texts into the value itself, which several tasks of a DAG may share.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_hf_endpoints.tables.sql_rows import SqlRows
from airflow_provider_hf_endpoints.tables.sql_table import SqlTable

_FILE = ".sql"


class RendersTables:
    """A base of operators with `SqlRows` or `SqlTable` in a template field."""

    def render_template(
        self, content: Any, context: Any, jinja_env: Any = None, seen_oids: set[int] | None = None
    ) -> Any:
        """As Airflow's, and a copy of the value with rendered texts."""
        render: Any = super().render_template  # type: ignore[misc]
        if not isinstance(content, SqlRows | SqlTable):
            return render(content, context, jinja_env, seen_oids)
        env = jinja_env or self.get_template_env()  # type: ignore[attr-defined]

        def rendered(text: str) -> str:
            source = _source_of(text, env) if isinstance(content, SqlRows) else text
            return str(render(source, context, env, seen_oids))

        return content.rendered(rendered)


def _source_of(text: str, env: Any) -> str:
    """The text, or the content of the file that it names."""
    name = text.strip()
    if not name.endswith(_FILE) or any(each.isspace() for each in name):
        return text
    from jinja2 import TemplateNotFound  # Airflow has imported it when it renders

    try:
        return str(env.loader.get_source(env, name)[0])
    except (TemplateNotFound, AttributeError):
        raise ValueError(
            f"SqlRows: sql={name!r} is a file that does not exist in the folder of the DAG, or in the DAG's "
            "template_searchpath. Correct the name, or give the query itself."
        ) from None
