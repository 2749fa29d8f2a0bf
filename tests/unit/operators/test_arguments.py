"""No argument of a public operator or sensor silently accepts a value that its annotation excludes.

The cases are made from the annotations, so a new argument is tested too.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_provider_hf_endpoints.inference.batch import BatchJob
from airflow_provider_hf_endpoints.operators import endpoints, inference
from airflow_provider_hf_endpoints.operators.checking.arguments import understand
from airflow_provider_hf_endpoints.operators.checking.kinds import alternatives
from airflow_provider_hf_endpoints.operators.endpoints import (
    CreateInferenceEndpointOperator,
    PauseInferenceEndpointOperator,
    ResumeInferenceEndpointOperator,
    UpdateInferenceEndpointOperator,
)
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.operators.starting.hardware import PLACE
from airflow_provider_hf_endpoints.operators.sweep import SweepInferenceEndpointsOperator
from airflow_provider_hf_endpoints.operators.using.acquire import AcquireInferenceEndpointOperator
from airflow_provider_hf_endpoints.operators.using.release import ReleaseAcquiredOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.tables import SqlTable
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint
from tests.contract.operators_play import MODEL

PUBLIC = [getattr(module, name) for module in (endpoints, inference) for name in module.__all__]
OPERATORS: list[type[Any]] = [kind for kind in PUBLIC if hasattr(kind, "template_fields")]
OPERATORS += [InferenceEndpointSensor, SweepInferenceEndpointsOperator]
OPERATORS += [AcquireInferenceEndpointOperator, ReleaseAcquiredOperator]
NEEDED = {
    "endpoint": "demo",
    "name": "demo",
    "task": "text-generation",
    "inputs": "a",
    "prompt": "{text}",
    "input_path": "in.jsonl",
    "results": "out",
    "output_table": SqlTable(conn_id="warehouse", table="answers"),
    "output_path": "out.jsonl",
    "shards": 2,
    "acquired": {},
    "must_exist": True,
    "start_task_id": "start",
    "release_task_id": "release",
}


def own_init(kind: type[Any]) -> Iterator[Any]:
    for cls in kind.__mro__:
        if cls.__module__.startswith("airflow_provider_hf_endpoints") and "__init__" in vars(cls):
            yield inspect.unwrap(vars(cls)["__init__"])


def annotated(kind: type[Any]) -> dict[str, Any]:
    """Every parameter of ours with its annotation, those of its base class too."""
    found: dict[str, Any] = {}
    for init in own_init(kind):
        found = {**get_type_hints(init), **found}
    found.pop("return", None)
    return found


def made(kind: type[Any], **changes: Any) -> Any:
    taken = set(annotated(kind))
    needed = {name: value for name, value in {**NEEDED, **MODEL}.items() if name in taken}
    return kind(**{"task_id": "task", **needed, **changes})


def cases(wanted: Any) -> list[Any]:
    return [
        pytest.param(kind, name, annotation, id=f"{kind.__name__}-{name}")
        for kind in OPERATORS
        for name, annotation in annotated(kind).items()
        if wanted([*alternatives(annotation)])
    ]


def is_choice(kinds: list[Any]) -> bool:
    return str not in kinds and any(get_origin(each) is Literal for each in kinds)


def is_number(kinds: list[Any]) -> bool:
    return not {str, Any} & set(kinds) and bool({int, float, timedelta} & set(kinds)) and not is_choice(kinds)


def is_list(kinds: list[Any]) -> bool:
    return str not in kinds and any(get_origin(each) in (list, tuple, Sequence) for each in kinds)


def is_truth(kinds: list[Any]) -> bool:
    return kinds == [bool]


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_choice))
def test_a_misspelt_word_is_refused_with_the_nearest(kind: type[Any], name: str, annotation: Any) -> None:
    """When the DAG is read, and not by the timeout."""
    words = [word for each in alternatives(annotation) if get_origin(each) is Literal for word in get_args(each)]
    misspelt = f"{words[0]}x"
    with pytest.raises(ValueError, match=f"{name}='{misspelt}' is not valid. Use .*Did you mean '{words[0]}'"):
        made(kind, **{name: misspelt})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_number))
def test_a_text_that_is_no_number_is_refused(kind: type[Any], name: str, annotation: Any) -> None:
    """With the argument, the value and the fix; a template too, where the argument is not rendered."""
    with pytest.raises(ValueError, match=f"{name}='soon' is not a number. Give a"):
        made(kind, **{name: "soon"})
    if name not in kind.template_fields:
        with pytest.raises(ValueError, match=f"{name}='{{{{ x }}}}' is a template, but {name} is not a template field"):
            made(kind, **{name: "{{ x }}"})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_number))
def test_a_text_that_is_a_number_is_one(kind: type[Any], name: str, annotation: Any) -> None:
    """As it comes from an environment variable or an Airflow Variable."""
    value = understand(name, "600", annotation)
    assert isinstance(value, int | float | timedelta)
    made(kind, **{name: "600"} if name not in ("max_error_rate", "price_above") else {})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_list))
def test_a_text_is_no_list_of_letters(kind: type[Any], name: str, annotation: Any) -> None:
    """One word is one element; several in one text are refused."""
    word = "running" if name == "target_states" else "abc"
    assert [word] == list(getattr(made(kind, **{name: word}), name))
    with pytest.raises(ValueError, match=f"{name}='a b' is a single string, but a list is expected"):
        made(kind, **{name: "a b"})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(is_truth))
def test_no_text_counts_as_true(kind: type[Any], name: str, annotation: Any) -> None:
    """`"False"` is a text, and Python takes every text for true."""
    assert understand(name, "False", annotation) is False
    with pytest.raises(ValueError, match=f"{name}='no' is a string, and any string counts as true"):
        made(kind, **{name: "no"})


WRONG: list[Any] = [True, -1.5, float("nan"), float("inf"), b"x", Path("/p"), [object()], {"a": object()}, object()]


def holds(value: Any, kinds: list[Any]) -> bool:
    """Whether the annotation allows the value, by Python's own words; NaN does not count as a number."""
    for each in kinds:
        plain = get_origin(each) or each
        if each is Any or plain is Literal:
            return each is Any
        number = int if each is float and isinstance(value, int) else each
        if isinstance(value, bool) and plain is not bool:
            continue
        if isinstance(plain, type) and isinstance(value, number if plain is float else plain):
            return not isinstance(value, float) or math.isfinite(value)
    return False


def any_argument(kinds: list[Any]) -> bool:
    return Any not in kinds


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize(("kind", "name", "annotation"), cases(any_argument))
def test_a_value_of_the_wrong_type_is_refused(kind: type[Any], name: str, annotation: Any, wrong: Any) -> None:
    """When the DAG is read, by the argument's name: nothing that the annotation does not allow is found by the run."""
    kinds = [*alternatives(annotation)]
    if holds(wrong, kinds) and not isinstance(wrong, list | dict):
        return
    if isinstance(wrong, dict) and any(get_origin(each) is Mapping for each in kinds):
        return  # what a mapping may hold, each argument says itself
    with pytest.raises(ValueError, match=name):
        made(kind, **{name: wrong})


LONG = [10**400, 1e300, "1e300", timedelta.max, 101 * 365.25 * 86400]


@pytest.mark.parametrize("long", LONG, ids=["integer", "float", "text", "timedelta", "a little"])
@pytest.mark.parametrize(("kind", "name", "annotation"), cases(lambda kinds: timedelta in kinds))
def test_a_time_that_no_date_reaches_is_refused(kind: type[Any], name: str, annotation: Any, long: Any) -> None:
    """Airflow adds it to a moment when the task defers, which fails when the endpoint bills already."""
    with pytest.raises(ValueError, match=rf"{name}=.* is not valid\. Give at most 36525 days"):
        made(kind, **{name: long})
    made(kind, **{name: timedelta(days=300)})


@pytest.mark.parametrize("large", [10**400, "1e999", "nan"], ids=["integer", "text", "nan"])
@pytest.mark.parametrize(
    ("kind", "name", "annotation"), cases(lambda kinds: float in kinds and not {str, Any, timedelta} & set(kinds))
)
def test_a_number_that_is_none_is_refused_by_its_name(kind: type[Any], name: str, annotation: Any, large: Any) -> None:
    """Python's own error would be an OverflowError without the argument, and a budget of `nan` is never spent."""
    with pytest.raises(ValueError, match=name):
        made(kind, **{name: large})


NEVER_EMPTY = {"repository", "input_path", "output_path", *PLACE}


@pytest.mark.parametrize("empty", ["", "  "])
@pytest.mark.parametrize("kind", OPERATORS)
def test_an_empty_text_is_refused_where_it_says_nothing(kind: type[Any], empty: str) -> None:
    """As it comes from a variable that is not set: not found by the service, or when the endpoint bills already."""
    for name in NEVER_EMPTY & set(annotated(kind)):
        with pytest.raises(ValueError, match=rf"{name}='{empty}' is (empty|not valid)"):
            made(kind, **{name: empty})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(lambda kinds: not {Any, NoneType} & set(kinds)))
def test_none_is_refused_where_it_says_nothing(kind: type[Any], name: str, annotation: Any) -> None:
    """A name that a variable did not give, say."""
    with pytest.raises(ValueError, match=f"{name}=None|Missing"):
        made(kind, **{name: None})


@pytest.mark.parametrize(("kind", "name", "annotation"), cases(any_argument))
def test_another_tasks_result_is_taken_only_where_it_is_looked_up(kind: type[Any], name: str, annotation: Any) -> None:
    """Elsewhere Airflow would hand the reference itself to the task, which counts as true, say."""
    with DAG("dag", schedule=None):
        result: Any = BaseOperator(task_id="before").output
        if name in kind.template_fields:
            apart = {"bytes_per_shard": ["shards"], "hardware": MODEL.keys() & PLACE}.get(name, ())
            made(kind, **dict.fromkeys(apart), **{name: result})
            return
        with pytest.raises(ValueError, match=name):
            made(kind, **{name: result})


@pytest.mark.parametrize("kind", [each for each in OPERATORS if hasattr(each, "partial")])
def test_a_mapped_task_is_held_to_the_same(kind: type[Any]) -> None:
    """Airflow makes a mapped task's operator when it runs: what `partial` gets is checked where the DAG is read."""
    if not set(annotated(kind)) & {"poll_interval", "poke_interval"}:
        return
    name = "poke_interval" if kind is InferenceEndpointSensor else "poll_interval"
    with pytest.raises(ValueError, match=f"{name}=nan is not valid"):
        kind.partial(task_id="task", **{name: float("nan")})
    with pytest.raises(ValueError, match="deferrable='no' is a string"):
        kind.partial(task_id="task", deferrable="no")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"endpoint": "My Endpoint"}, "lower-case letters"),
        ({"endpoint": ""}, "must not be empty"),
        ({"endpoint": "a" * 33}, "at most 32 characters"),
        ({"endpoint": "acme/demo"}, "endpoint='acme/demo': .* Give 'demo', and namespace='acme'"),
        ({"endpoint": "https://x.example"}, "is an address. Give the endpoint's name"),
        ({"endpoint": "My_Demo"}, "Did you mean 'my-demo'?"),
        ({"endpoint": {"url": "https://x"}}, "endpoint is a dict, which is not valid. Give a string"),
    ],
)
def test_an_endpoint_that_has_no_such_name(given: dict[str, Any], words: str) -> None:
    """Of every operator and the sensor: the run would only find it when it has come there."""
    for kind in OPERATORS:
        name = "name" if kind is CreateInferenceEndpointOperator else "endpoint"
        if name in annotated(kind):
            with pytest.raises(
                ValueError, match=words.replace("endpoint is a", f"{name} is a").replace("endpoint=", f"{name}=")
            ):
                made(kind, **{name: given["endpoint"]})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"min_replica": -1}, "min_replica=-1"),
        ({"scale_to_zero_timeout": 5}, "between 15 and 2880"),
        ({"min_replica": 3, "max_replica": 2}, "greater than max_replica"),
        ({"type": "publik"}, "must be one of"),
        ({"framework": "vllm"}, "must be one of pytorch, custom, llamacpp; custom_image chooses the engine"),
        ({"tensor_parallel_size": 0}, "tensor_parallel_size=0"),
    ],
)
def test_a_setting_that_the_service_refuses(given: dict[str, Any], words: str) -> None:
    """Of a create, an update and a mapped create: the mistake is found when the DAG is parsed, not at the create."""
    update: Any = UpdateInferenceEndpointOperator
    create: Any = CreateInferenceEndpointOperator
    made(create, **dict.fromkeys(given, "{{ x }}"))
    alone = {"task_id": "task", "endpoint": "demo"}
    for make, arguments in (
        (made, {"kind": create, **given}),
        (update, {**alone, **given}),
        (update, {**alone, "changes": given}),
        (create.partial, {"task_id": "task", **given}),
    ):
        with pytest.raises(ValueError, match=words):
            make(**arguments)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_concurrency": -1}, "max_concurrency must be"),
        ({"request_timeout": 0}, "request_timeout must be greater"),
        ({"batch_timeout": timedelta(seconds=-5)}, "batch_timeout=.* is not valid. Give a positive"),
        ({"batch_timeout": 0}, "batch_timeout=0 is not valid"),
        ({"prompt": "{text"}, "single '{'"),
        ({"max_error_rate": 20}, "max_error_rate must be a share"),
        ({"parameters": {"stream": True}}, "stream"),
        (
            {"task": "embedding", "response_schema": {"type": "object"}},
            "response_schema is given, but task='embedding'",
        ),
    ],
)
def test_a_batch_that_can_t_be_meant(given: dict[str, Any], words: str) -> None:
    """Not found when the endpoint bills already; what a template may change is left to the run."""
    common = {"prompt": "{text}", **given}
    with pytest.raises(ValueError, match=words):
        made(BatchInferenceOperator, **common)


def test_no_refusal_shows_what_may_be_a_secret() -> None:
    """It stands in the log of the DAG processor, and on the page of import errors."""
    create: Any = CreateInferenceEndpointOperator
    for name in ("secrets", "container_registry_password", "env", "custom_image", "container_args", "tags"):
        for value in ([b"sk-plain"], b"sk-plain", {"sk-plain"}):
            with pytest.raises((ValueError, TypeError)) as caught:
                made(create, **{name: value})
            assert "sk-plain" not in str(caught.value), name


@pytest.mark.parametrize("field", ["tags", "container_args", "container_command"])
def test_the_lists_of_an_endpoint(field: str) -> None:
    """Also if the argument has no separate parameter; a template may become a list."""
    create: Any = CreateInferenceEndpointOperator
    given = {"task_id": "task", "name": "demo", **MODEL}
    assert ["a"] == getattr(create(**given, **{field: "a"}), field)
    assert "{{ x }}" == getattr(create(**given, **{field: "{{ x }}"}), field)
    with pytest.raises(ValueError, match=f"{field}='--a 1' is a single string, but a list is expected"):
        create(**given, **{field: "--a 1"})


def test_a_misspelt_state_is_refused_with_the_nearest() -> None:
    """Not by the timeout of the sensor."""
    with pytest.raises(ValueError, match=r"target_states='runing' is not valid. Use one of .*Did you mean 'running'"):
        InferenceEndpointSensor(task_id="wait", endpoint="demo", target_states=("paused", "runing"))
    InferenceEndpointSensor(task_id="wait", endpoint="demo", target_states=["{{ params.state }}"])


def test_a_batch_without_airflow_takes_no_letters_for_columns() -> None:
    """The same of `BatchJob`."""
    columns: Any = "id"
    with pytest.raises(ValueError, match=r"keep_columns must be a list, not the text 'id'. Give \['id'\]"):
        BatchJob(url="http://u", task="chat-completion", input_path="i", output_path="o", keep_columns=columns)


def test_the_cases_are_there() -> None:
    """The generator finds arguments of each sort."""
    for wanted in (is_choice, is_number, is_list, is_truth):
        assert cases(wanted)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_cost": "5 USD"}, "max_cost='5 USD' is not a number. Give a number of USD."),
        ({"max_runtime": "2h"}, "max_runtime='2h' is not a number. Give a number of seconds, or a timedelta."),
        ({"max_error_rate": "50%"}, "max_error_rate='50%' is not a number. Give a share of the rows from 0 to 1"),
        ({"keep_columns": ["a", 1]}, "keep_columns[1]=1 is not valid. Give a string."),
        ({"input_path": [{"text": "x"}]}, "input_path[0] is a dict, which is not valid. Give a string, a PathLike"),
        ({"on_empty": False}, "on_empty=False is not valid. Give one of 'fail', 'skip', 'succeed'"),
        ({"response_schema": "{}"}, "not str. Parse the text first: json.loads"),
        ({"max_runtime": [1]}, "max_runtime is a list, which is not valid. Give a number of seconds, or a timedelta"),
        ({"max_concurrency": "many"}, "max_concurrency='many' is not valid. Use 'auto', or a number."),
        ({"parameters": "max_tokens=3"}, "a mapping is expected. Give {name: value}, for example {'max_tokens': 64}."),
        ({"input_path": 5}, "Give a string, a PathLike, an ObjectStoragePath, a list or None."),
        ({"poll_interval": "soon"}, "poll_interval='soon' is not a number. Give a number of seconds."),
    ],
)
def test_an_error_about_a_kind_names_the_unit_and_an_example(given: dict[str, Any], words: str) -> None:
    """A new user knows neither the unit of a budget nor how a mapping is written."""
    with pytest.raises(ValueError, match=re.escape(words)):
        made(BatchInferenceOperator, **given)


def test_an_image_that_is_only_an_address() -> None:
    """The engine of an image is its key, which an address alone does not have."""
    with pytest.raises(ValueError, match=re.escape("{'vLLM': {'url': 'vllm/vllm-openai:v0.23.0'}}")):
        made(CreateInferenceEndpointOperator, custom_image="vllm/vllm-openai:latest")


def test_a_hardware_that_is_no_path() -> None:
    """One choice as a text is checked as a list of one choice is: when the DAG is parsed."""
    hardware = {"vendor": None, "region": None, "accelerator": None, "instance_type": None, "instance_size": None}
    with pytest.raises(ValueError, match="'nvidia-l4' is not of the form vendor/region/instance_type/instance_size"):
        made(CreateInferenceEndpointOperator, **hardware, hardware="nvidia-l4")


def test_a_group_in_place_of_its_endpoint() -> None:
    """The group is what `inference_endpoint` returns, and its endpoint is what `with … as` gives."""
    with DAG("group") as dag:
        group = inference_endpoint("demo")
    assert dag is not None
    with pytest.raises(ValueError, match=re.escape("Give the endpoint of the group: `with inference_endpoint(…) as")):
        made(BatchInferenceOperator, endpoint=group)


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (CreateInferenceEndpointOperator, {"tags": ["a", 1]}, r"tags\[1\]=1 is not valid. Give a string\."),
        (
            CreateInferenceEndpointOperator,
            {"env": {"A": 1}},
            r"env\['A'\]: must be a valid string, not int. Write .* quotes",
        ),
        (
            CreateInferenceEndpointOperator,
            {"env": {"A": None}},
            r"env\['A'\]: must be .*, not None. Leave the name out",
        ),
        (CreateInferenceEndpointOperator, {"scale_to_zero_timeout": "15m"}, "Give a whole number of minutes"),
        (CreateInferenceEndpointOperator, {"scale_to_zero_timeout": timedelta(1)}, "Give a whole number of minutes"),
        (CreateInferenceEndpointOperator, {"custom_image": {}}, "custom_image is empty. Write {'url':"),
        (CreateInferenceEndpointOperator, {"custom_image": {"vLLM": "x"}}, r"custom_image\['vLLM'\] must be a dict"),
        (CreateInferenceEndpointOperator, {"repository": "https://huggingface.co/a/b"}, "on the Hub. Give 'a/b'"),
        (CreateInferenceEndpointOperator, {"repository": "a/b/model.gguf"}, "Write it as owner/name"),
        (CreateInferenceEndpointOperator, {"repository": "my model"}, "Write it as owner/name"),
        (CreateInferenceEndpointOperator, {"name": "My_LLM"}, r"Did you mean 'my-llm'\?$"),
        (CreateInferenceEndpointOperator, {"namespace": "a/b"}, "Give the name alone, such as 'acme'"),
        (BatchInferenceOperator, {"startup_timeout": timedelta(0)}, "^startup_timeout=datetime.timedelta.0.: A time"),
        (
            CreateInferenceEndpointOperator,
            {"timeout": -1},
            "^timeout=-1: A time limit of -1 seconds is not valid. Give",
        ),
        (BatchInferenceOperator, {"endpoint": "Qwen/Qwen3-0.6B"}, "has no '/', as the repository of a model has. Give"),
        (
            PauseInferenceEndpointOperator,
            {"endpoint": Path("demo")},
            r"endpoint=PosixPath\('demo'\) is not valid. Give a str",
        ),
        (InferenceEndpointSensor, {"target_states": [1]}, r"target_states\[0\]=1 is not valid. Give a string"),
        (InferenceOperator, {"parameters": {"stream": True}}, "parameters contains `stream`"),
    ],
)
def test_a_refusal_names_the_part_that_is_wrong_and_what_it_may_be(
    kind: Any, given: dict[str, Any], words: str
) -> None:
    """A whole list is not "not valid": one element of it is. A unit is named, and a fix."""
    with pytest.raises(ValueError, match=words):
        made(kind, **given)


@pytest.mark.parametrize(
    "name", ["id_column", "input_format", "encoding", "on_existing", "fail_on_errors", "max_concurrency", "max_cost"]
)
def test_a_template_where_nothing_is_rendered_is_refused(name: str) -> None:
    """Airflow would pass the braces on, whatever the kind of the argument."""
    with pytest.raises(
        ValueError, match=f"{name}='{{{{ x }}}}' is a template, but {name} is not a template field. Give"
    ):
        made(BatchInferenceOperator, **{name: "{{ x }}"})


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        (InferenceEndpointSensor, "state", "Did you mean 'target_states'"),
        (ResumeInferenceEndpointOperator, "name", "Did you mean 'endpoint'"),
        (CreateInferenceEndpointOperator, "endpoint", "Did you mean 'name'"),
        (CreateInferenceEndpointOperator, "model", "Did you mean 'repository'"),
        (InferenceOperator, "prompt", "Did you mean 'inputs'"),
        (InferenceOperator, "max_tokens", r"Give it in parameters=\{'max_tokens': …\}"),
        (BatchInferenceOperator, "temperature", r"Give it in parameters=\{'temperature': …\}"),
        (BatchInferenceOperator, "concurrency", "Did you mean 'max_concurrency'"),
        (BatchInferenceOperator, "timeout", "Did you mean 'batch_timeout'"),
    ],
)
def test_a_name_of_another_tool_leads_to_the_argument_that_is_meant(kind: Any, name: str, words: str) -> None:
    """By its letters, the nearest name of `state` would be Airflow's `start_date`."""
    with pytest.raises(TypeError, match=words):
        made(kind, **{name: "x"})


@pytest.mark.parametrize("name", ["min_replica", "max_replica", "scale_to_zero_timeout"])
def test_an_integer_that_no_machine_counts_to_is_refused(name: str) -> None:
    """Where the DAG is read, as a number with a fraction of that size is."""
    with pytest.raises(ValueError, match=name):
        CreateInferenceEndpointOperator(**{"task_id": "create", "name": "demo", **MODEL, name: 10**400})
