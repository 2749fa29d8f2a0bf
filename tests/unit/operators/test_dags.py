"""The operators in a DAG: templates, serialization, mapping, dependencies, copies."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import ObjectStoragePath
from airflow.sdk import DAG
from airflow.sdk.bases import operator as bases
from airflow.serialization import serialized_objects

from airflow_provider_hf_endpoints.endpoints.spec import EndpointSpec, EndpointUpdate
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    DeleteInferenceEndpointOperator,
    FromConnection,
    FromVariable,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    ScaleToZeroInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor

MODEL: dict[str, Any] = {
    "repository": "gpt2",
    "framework": "pytorch",
    "vendor": "aws",
    "region": "us-east-1",
    "accelerator": "cpu",
    "instance_type": "intel-icl",
    "instance_size": "x2",
}
PATHS = {"input_path": "/in/{{ ds }}.jsonl", "output_path": "/out/{{ ds }}.jsonl"}
SECRET = "s3cr3t-of-the-user"

# Every operator with every template field given as a template.
EVERYTHING: list[tuple[type[Any], dict[str, Any]]] = [
    (
        CreateInferenceEndpointOperator,
        {"name": "demo-{{ ds }}", **MODEL, "secrets": {"KEY": SECRET}, "tags": ["{{ ds }}"]},
    ),
    (UpdateInferenceEndpointOperator, {"endpoint": "demo-{{ ds }}", "tags": ["{{ ds }}"], "secrets": {"KEY": SECRET}}),
    (PauseInferenceEndpointOperator, {"endpoint": "demo-{{ ds }}"}),
    (ResumeInferenceEndpointOperator, {"endpoint": "demo-{{ ds }}"}),
    (ScaleToZeroInferenceEndpointOperator, {"endpoint": "demo-{{ ds }}"}),
    (DeleteInferenceEndpointOperator, {"endpoint": "demo-{{ ds }}"}),
    (InferenceOperator, {"endpoint": "demo-{{ ds }}", "task": "chat-completion", "inputs": ["{{ ds }}"]}),
    (BatchInferenceOperator, {"endpoint": "demo-{{ ds }}", "task": "chat-completion", "prompt": "{a}{{b}}", **PATHS}),
    (InferenceEndpointSensor, {"endpoint": "demo-{{ ds }}", "target_states": ["{{ ds }}"]}),
]
EACH = pytest.mark.parametrize(("kind", "given"), EVERYTHING, ids=lambda value: getattr(value, "__name__", ""))


# The class that turns a DAG into what Airflow stores was renamed.
_AIRFLOW: Any = serialized_objects
SERIALIZATION: Any = getattr(_AIRFLOW, "DagSerialization", None) or _AIRFLOW.SerializedDAG


def to_dict(dag: DAG) -> Any:
    """The DAG as Airflow stores it."""
    return SERIALIZATION.to_dict(dag)


def from_dict(data: Any) -> Any:
    """The DAG as the scheduler sees it."""
    return SERIALIZATION.from_dict(data)


def context(**values: Any) -> Any:
    """What a template sees."""
    return values


@EACH
def test_template_fields_are_attributes_and_render(kind: type[Any], given: dict[str, Any]) -> None:
    """Every template field can be rendered; a name from a template is what the task then uses."""
    operator = kind(task_id="task", **given)
    assert [field for field in operator.template_fields if not hasattr(operator, field)] == []
    operator.render_template_fields({"ds": "2026-01-01"})
    assert operator.endpoint == "demo-2026-01-01"
    rendered = json.dumps([getattr(operator, field) for field in operator.template_fields], default=str)
    assert "{{ ds }}" not in rendered


def test_row_templates_are_not_rendered() -> None:
    """The braces of a row's template are not Jinja's."""
    _, given = EVERYTHING[7]
    operator = BatchInferenceOperator(task_id="task", **given)
    operator.render_template_fields(context(ds="x", b="wrong"))
    assert (operator.prompt, operator.input_path) == ("{a}{{b}}", "/in/x.jsonl")


def test_paths_of_object_storage_render() -> None:
    """`ObjectStoragePath` may be templated too."""
    operator = BatchInferenceOperator(
        task_id="task",
        endpoint="demo",
        task="chat-completion",
        prompt="{a}",
        input_path=ObjectStoragePath("file:///in/{{ ds }}.jsonl"),
        output_path="/out",
    )
    operator.render_template_fields({"ds": "x"})
    assert str(operator.input_path) == "file:///in/x.jsonl"


@EACH
def test_secrets_are_nowhere_that_airflow_shows(kind: type[Any], given: dict[str, Any]) -> None:
    """Not in the stored DAG, the rendered fields or the repr."""
    with DAG("dag", schedule=None) as dag:
        operator = kind(task_id="task", **given)
    stored = json.dumps(to_dict(dag), default=str)
    fields = [getattr(operator, field) for field in operator.template_fields]
    assert SECRET not in stored + repr(operator) + repr(fields)
    assert not {"secrets", "container_registry_password"} & set(operator.template_fields)


def test_a_dag_with_all_of_them_serializes() -> None:
    """As Airflow stores it, and back."""
    with DAG("dag", schedule=None) as dag:
        for number, (kind, given) in enumerate(EVERYTHING):
            kind(task_id=f"task{number}", **given)
    back = from_dict(json.loads(json.dumps(to_dict(dag))))
    assert len(EVERYTHING) == len(back.task_dict)
    assert {("Hugging Face endpoint",)} == {tuple(task.extra_links) for task in back.task_dict.values()}


@EACH
def test_a_task_can_be_copied_with_its_dag(kind: type[Any], given: dict[str, Any]) -> None:
    """Airflow copies DAGs whole: no task holds a lock or a connection."""
    with DAG("dag", schedule=None) as dag:
        operator = kind(task_id="task", **given)
    copied: Any = copy.deepcopy(dag).get_task("task")
    assert type(operator) is type(copied)
    assert operator.endpoint == copied.endpoint


def test_the_result_of_a_task_makes_a_dependency() -> None:
    """A name that another task returns puts this one behind it."""
    with DAG("dag", schedule=None):
        first = PauseInferenceEndpointOperator(task_id="first", endpoint="demo")
        for number, (kind, given) in enumerate(EVERYTHING):
            field = "name" if kind is CreateInferenceEndpointOperator else "endpoint"
            after = kind(task_id=f"task{number}", **{**given, field: first.output})
            assert {"first"} == after.upstream_task_ids


def test_other_arguments_may_come_from_a_task() -> None:
    """What is a list or a mapping when the task runs need not be one when the DAG is read."""
    with DAG("dag", schedule=None):
        first = PauseInferenceEndpointOperator(task_id="first", endpoint="demo")
        result: Any = first.output
        after: list[Any] = [
            UpdateInferenceEndpointOperator(task_id="update", endpoint="demo", changes=result),
            InferenceEndpointSensor(task_id="sensor", endpoint="demo", target_states=result),
            InferenceOperator(task_id="ask", endpoint="demo", task="chat-completion", inputs=result),
            CreateInferenceEndpointOperator(task_id="create", name="demo", **MODEL, env=result),
        ]
    assert [{"first"}] * 4 == [task.upstream_task_ids for task in after]


MAPPED: list[tuple[type[Any], dict[str, Any], dict[str, Any]]] = [
    (CreateInferenceEndpointOperator, {**MODEL, "revision": "main", "env": {"A": "1"}}, {"name": ["a", "b"]}),
    (CreateInferenceEndpointOperator, {**MODEL, "name": "a"}, {"revision": ["x", "y"]}),
    (UpdateInferenceEndpointOperator, {"changes": {"max_replica": 2}}, {"endpoint": ["a", "b"]}),
    (UpdateInferenceEndpointOperator, {"endpoint": "a"}, {"changes": [{"max_replica": 1}, {"max_replica": 2}]}),
    (PauseInferenceEndpointOperator, {}, {"endpoint": ["a", "b"]}),
    (DeleteInferenceEndpointOperator, {"missing_ok": False}, {"endpoint": ["a", "b"]}),
    (ResumeInferenceEndpointOperator, {"deferrable": True}, {"endpoint": ["a", "b"]}),
    (ScaleToZeroInferenceEndpointOperator, {}, {"endpoint": ["a", "b"]}),
    (InferenceOperator, {"endpoint": "a", "task": "chat-completion"}, {"inputs": ["a", "b"]}),
    (
        BatchInferenceOperator,
        {"endpoint": "a", "task": "chat-completion", "prompt": "{a}", "output_path": "/out"},
        {"input_path": ["/a", "/b"]},
    ),
    (InferenceEndpointSensor, {"timeout": 60}, {"endpoint": ["a", "b"]}),
]


@pytest.mark.parametrize(("kind", "partial", "expand"), MAPPED, ids=lambda value: getattr(value, "__name__", ""))
def test_mapping(kind: type[Any], partial: dict[str, Any], expand: dict[str, Any]) -> None:
    """`.partial(…).expand(…)` takes what the constructor takes, serializes, and makes the same task."""
    with DAG("dag", schedule=None) as dag:
        mapped = kind.partial(task_id="task", **partial).expand(**expand)
    assert from_dict(json.loads(json.dumps(to_dict(dag)))).get_task("task") is not None
    single = mapped.unmap({key: values[0] for key, values in expand.items()})
    given = {**partial, **{key: values[0] for key, values in expand.items()}}
    for name, value in given.items():
        assert value == getattr(single, name)


@pytest.mark.parametrize("kind", [CreateInferenceEndpointOperator, UpdateInferenceEndpointOperator])
def test_a_mapped_task_takes_secrets_only_as_references(kind: type[Any]) -> None:
    """Airflow stores the arguments of `partial` with the DAG, readable: a value there would be shown."""
    given = {**MODEL} if kind is CreateInferenceEndpointOperator else {"changes": {"tags": ["a"]}}
    field = "name" if kind is CreateInferenceEndpointOperator else "endpoint"
    for secret in ({"secrets": {"KEY": SECRET}}, {"container_registry_password": SECRET}):
        with pytest.raises(ValueError, match=r"stores the .* in clear text") as caught:
            kind.partial(task_id="task", **given, **secret)
        assert SECRET not in str(caught.value)
    references = {"secrets": {"KEY": FromVariable("key"), "OTHER": FromConnection("vault")}}
    with DAG("dag", schedule=None) as dag:
        mapped = kind.partial(task_id="task", **given, **references).expand(**{field: ["a"]})
    json.dumps(to_dict(dag))
    assert references["secrets"] == mapped.unmap({field: "a"})._secrets.secrets


LOOKS_LIKE_A_TOKEN = "hf_AbcDefGhiJkl0123456789"
SHOWN_IN_MAPPING = [
    lambda partial: partial.expand(secrets=[{"KEY": FromVariable("key")}, {"KEY": SECRET}]),
    lambda partial: partial.expand(container_registry_password=[SECRET]),
    lambda partial: partial.expand_kwargs([{"secrets": {"KEY": SECRET}}]),
    lambda partial: partial.expand_kwargs([{"container_registry_password": SECRET}]),
    lambda partial: partial.expand(env=[{"KEY": LOOKS_LIKE_A_TOKEN}]),
]


@pytest.mark.parametrize("map_over", SHOWN_IN_MAPPING)
def test_no_secret_is_mapped_over(map_over: Any) -> None:
    """`expand` and `expand_kwargs` store their values with the DAG too; references are fine."""
    with DAG("dag", schedule=None):
        partial = CreateInferenceEndpointOperator.partial(task_id="task", name="demo", **MODEL)
        with pytest.raises(ValueError, match=r"FromConnection|FromVariable") as caught:
            map_over(partial)
        partial.expand(secrets=[{"KEY": FromVariable("key")}])  # and so that Airflow sees it used
    assert SECRET not in str(caught.value)
    assert LOOKS_LIKE_A_TOKEN not in str(caught.value)


def test_no_secret_comes_from_another_task() -> None:
    """Airflow stores what a task returns, readable: neither mapped over nor given as an argument."""
    with DAG("dag", schedule=None):
        create: Any = CreateInferenceEndpointOperator
        found = create(task_id="first", name="demo", **MODEL).output
        for name in ("secrets", "container_registry_password"):
            secret = {name: found}
            with pytest.raises(ValueError, match=r"FromConnection"):
                create(task_id=f"{name}_given", name="demo", **MODEL, **secret)
            partial = create.partial(task_id=f"{name}_mapped", name="demo", **MODEL)
            with pytest.raises(ValueError, match=r"FromConnection"):
                partial.expand(**secret)
            partial._expand_called = True


def test_no_secret_is_in_default_args() -> None:
    """Airflow stores these with the DAG, whether a task is mapped or not."""
    for secret in ({"secrets": {"KEY": SECRET}}, {"container_registry_password": SECRET}):
        with DAG("dag", schedule=None, default_args=dict[str, Any](secret)):
            make: Any
            for make in (CreateInferenceEndpointOperator, CreateInferenceEndpointOperator.partial):
                with pytest.raises(ValueError, match=r"stores the default_args.* in clear text") as caught:
                    make(task_id="task", name="demo", **MODEL)
                assert SECRET not in str(caught.value)
    with DAG("dag", schedule=None, default_args={"secrets": {"KEY": FromVariable("key")}}):
        CreateInferenceEndpointOperator(task_id="task", name="demo", **MODEL)


@pytest.mark.parametrize(
    "changes",
    [
        {"secrets": {"KEY": SECRET}},
        {"container_registry_password": SECRET},
        {"env": {"KEY": LOOKS_LIKE_A_TOKEN}},
        {"custom_image": {"url": "registry/x", "credentials": {"username": "u", "password": SECRET}}},
    ],
)
def test_no_secret_is_in_changes(changes: dict[str, Any]) -> None:
    """`changes` is a template field, which Airflow stores and shows."""
    with pytest.raises(ValueError, match="stores and shows") as caught:
        UpdateInferenceEndpointOperator(task_id="task", endpoint="demo", changes=changes)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("field", ["env", "container_args", "container_command", "custom_image"])
def test_what_looks_like_a_token_is_no_template(field: str) -> None:
    """These are rendered, stored and shown; what only sounds like a token is taken."""
    shape: Any = {"env": {"KEY": "%s"}, "custom_image": {"url": "%s"}}.get(field, ["--key", "%s"])

    create: Any = CreateInferenceEndpointOperator

    def given(value: str) -> Any:
        return {field: json.loads(json.dumps(shape).replace("%s", value))}

    with pytest.raises(ValueError, match=f"{field} seems to contain a token"):
        create(task_id="task", name="demo", **MODEL, **given(LOOKS_LIKE_A_TOKEN))
    create(task_id="task", name="demo", **MODEL, **given("max_tokens=64"))


@pytest.mark.parametrize("field", ["container_args", "container_command"])
@pytest.mark.parametrize(
    "how", [["--api-key", "plainvalue"], ["--api-key=plainvalue"], ["sh", "-c", "PASSWORD=plain x"]]
)
def test_a_secret_on_a_command_line_is_no_template(field: str, how: list[str]) -> None:
    """A value behind a name such as TOKEN is a secret; a reference to the container's environment is not."""
    create: Any = CreateInferenceEndpointOperator
    with pytest.raises(ValueError, match=f"{field} seems to contain a token") as caught:
        create(task_id="task", name="demo", **MODEL, **{field: how})
    assert "plain" not in str(caught.value)
    create(task_id="task", name="demo", **MODEL, **{field: ["serve", "--api-key", "$API_KEY", "--max-tokens", "64"]})


@pytest.mark.skipif(
    not hasattr(bases, "_get_operator_defaults"), reason="this Airflow does not ask a class for its defaults"
)
def test_a_mapped_release_is_tried_more_often_too() -> None:
    """The retries of the releasing operators hold for a mapped task."""
    with DAG("dag", schedule=None):
        mapped = PauseInferenceEndpointOperator.partial(task_id="task").expand(endpoint=["a"])
    assert (5, timedelta(seconds=30)) == (mapped.retries, mapped.retry_delay)


def test_no_secret_is_in_a_repr() -> None:
    """Tracebacks with local variables print it, and so do debuggers."""
    given: Any = {"secrets": {"API_KEY": "sk-plain"}, "container_registry_username": "u"}
    create: Any = CreateInferenceEndpointOperator(
        task_id="task", name="demo", container_registry_password="sk-plain", **MODEL, **given
    )
    assert "sk-plain" not in repr(create._secrets)


def test_every_setting_is_an_argument() -> None:
    """What the client can send, the operators take; secrets outside of the template fields."""
    hidden = {"secrets", "container_registry_password"}
    create: Any = CreateInferenceEndpointOperator
    update: Any = UpdateInferenceEndpointOperator
    templated = set(CreateInferenceEndpointOperator.template_fields)
    assert set(EndpointSpec.model_fields) - hidden == templated - {
        "hardware",
        "namespace",
        "hf_endpoints_conn_id",
        "acquired",
    }
    for name in sorted(set(EndpointUpdate.model_fields) - hidden):
        operator = update(task_id="task", endpoint="demo", **{name: "{{ x }}"})
        assert {name: "{{ x }}"} == operator.changes
    options = set(EndpointSpec.model_fields) - hidden - {"name", *MODEL}
    operator = create(task_id="task", name="demo", **MODEL, **dict.fromkeys(options, "{{ x }}"))
    assert {"{{ x }}"} == {getattr(operator, name) for name in options}


def test_default_args_of_the_dag_reach_every_argument() -> None:
    """Arguments in `**kwargs` are not an exception."""
    with DAG("dag", schedule=None, default_args={"revision": "main", "hf_endpoints_conn_id": "other", **MODEL}):
        kind: Any = CreateInferenceEndpointOperator
        operator = kind(task_id="task", name="demo")
    assert (operator.revision, operator.hf_endpoints_conn_id, operator.repository) == ("main", "other", "gpt2")


@pytest.mark.parametrize("kind", [each for each, _ in EVERYTHING])
def test_a_misspelt_argument_is_refused(kind: type[Any]) -> None:
    """When the DAG is read, not ignored."""
    given = next(given for each, given in EVERYTHING if each is kind)
    with pytest.raises(TypeError, match="no_such_argument"):
        kind(task_id="task", **given, no_such_argument=1)


@pytest.mark.parametrize(
    ("kind", "bad", "words"),
    [
        (CreateInferenceEndpointOperator, {"if_exists": "replace"}, "if_exists='replace'"),
        (CreateInferenceEndpointOperator, {"on_failure": "stop"}, "on_failure='stop'"),
        (PauseInferenceEndpointOperator, {"timeout": 0}, "positive"),
        (PauseInferenceEndpointOperator, {"poll_interval": 0}, "positive"),
        (InferenceOperator, {"startup_timeout": -1}, "positive"),
        (InferenceOperator, {"poll_interval": 0}, "positive"),
        (InferenceEndpointSensor, {"on_scaled_to_zero": "sleep"}, "on_scaled_to_zero='sleep'"),
        (InferenceEndpointSensor, {"poke_interval": 0}, "poke_interval"),
        (InferenceEndpointSensor, {"target_states": []}, "target_states is empty"),
    ],
)
def test_a_bad_argument_is_refused_when_the_dag_is_read(kind: type[Any], bad: dict[str, Any], words: str) -> None:
    """With its name and value, before any task runs."""
    given = next(given for each, given in EVERYTHING if each is kind)
    with pytest.raises(ValueError, match=words):
        kind(**{"task_id": "task", **given, **bad})


def test_update_refuses_a_change_given_twice() -> None:
    """As an argument and in `changes`: which one was meant can't be known."""
    with pytest.raises(ValueError, match="tags: given"):
        UpdateInferenceEndpointOperator(task_id="task", endpoint="demo", changes={"tags": []}, tags=["a"])


def test_an_endpoint_may_be_named_by_another_tasks_result() -> None:
    """`endpoint=create.output` gives a summary; its name and namespace are what the operator works on."""
    summary = {"name": "tickets", "namespace": "acme", "state": "running", "url": None}
    for operator in (
        PauseInferenceEndpointOperator(task_id="pause", endpoint="{{ summary }}"),
        InferenceEndpointSensor(task_id="wait", endpoint="{{ summary }}"),
        InferenceOperator(task_id="ask", endpoint="{{ summary }}", task="text-generation", inputs="Hello"),
    ):
        operator.endpoint = summary  # type: ignore[assignment]
        operator.render_template_fields({})
        assert ("tickets", "acme") == (operator.endpoint, operator.namespace)


@pytest.mark.parametrize("image", [{"custom": {"url": "x", "credentials": {"username": "u", "password": "p"}}}])
def test_credentials_in_a_template_field_are_refused(image: dict[str, Any]) -> None:
    """Airflow stores and shows rendered templates, so a registry password has no place in `custom_image`."""
    with pytest.raises(ValueError, match="container_registry_password"):
        UpdateInferenceEndpointOperator(task_id="update", endpoint="tickets", custom_image=image)


def test_a_newline_at_the_end_of_a_text_survives_rendering() -> None:
    """Jinja drops one; a stop sequence that is a newline would become an empty one, and every answer would be empty."""
    operator = BatchInferenceOperator(
        task_id="batch",
        endpoint="tickets",
        task="chat-completion",
        input_path="in.jsonl",
        output_path="out.jsonl",
        prompt="{text}",
        parameters={"stop": ["\n", "{{ word }}\n", "END"], "max_tokens": 8},
    )
    operator.render_template_fields({"word": "stop"})  # type: ignore[typeddict-unknown-key]
    assert {"stop": ["\n", "stop\n", "END"], "max_tokens": 8} == operator.parameters
