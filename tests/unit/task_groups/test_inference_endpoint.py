"""`inference_endpoint(…)` in a DAG: its tasks, their dependencies, and the stored DAG."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.latest_only import LatestOnlyOperator
from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator
from airflow.sdk import DAG, Asset, TaskGroup, chain, cross_downstream, task
from airflow.serialization import serialized_objects

from airflow_provider_hf_endpoints.endpoints.errors import InvalidArgumentError
from airflow_provider_hf_endpoints.operators.inference import BatchInferenceOperator, InferenceOperator
from airflow_provider_hf_endpoints.sensors.endpoints import InferenceEndpointSensor
from airflow_provider_hf_endpoints.task_groups.endpoints import inference_endpoint

_AIRFLOW: Any = serialized_objects
SERIALIZATION: Any = getattr(_AIRFLOW, "DagSerialization", None) or _AIRFLOW.SerializedDAG

MODEL: dict[str, Any] = {"repository": "gpt2", "hardware": ["aws/us-east-1/intel-icl/x2"]}


def ask(task_id: str, endpoint: Any, **changes: Any) -> InferenceOperator:
    return InferenceOperator(task_id=task_id, endpoint=endpoint, task="chat-completion", inputs="hello", **changes)


def arrows(dag: DAG) -> dict[str, set[str]]:
    """What follows each task."""
    return {task_id: set(each.downstream_task_ids) for task_id, each in dag.task_dict.items()}


def leaves_of_run(dag: DAG) -> set[str]:
    """The tasks that Airflow judges a run by, as its scheduler finds them."""

    def counts(task: Any) -> bool:
        return not task.is_teardown or task.on_failure_fail_dagrun

    return {
        each.task_id
        for each in dag.tasks
        if counts(each) and not any(counts(dag.get_task(below)) for below in each.downstream_task_ids)
    }


def test_one_line_around_one_task() -> None:
    """Acquire and start are setups, release their teardown; the run is judged by the work, and by the release."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ask("ask", endpoint)
    assert arrows(dag) == {
        "demo.acquire": {"demo.start", "demo.watch", "demo.work_ended", "demo.release", "demo.released"},
        "demo.watch": {"demo.released"},
        "demo.start": {"demo.ask", "demo.release"},
        "demo.ask": {"demo.work_ended"},
        "demo.work_ended": {"demo.release"},
        "demo.release": {"demo.released"},
        "demo.released": set(),
    }
    assert {"demo.acquire", "demo.start"} == {each.task_id for each in dag.tasks if each.is_setup}
    teardowns = {each.task_id for each in dag.tasks if each.is_teardown}
    assert {"demo.watch", "demo.work_ended", "demo.release", "demo.released"} == teardowns
    assert {"demo.ask", "demo.released"} == leaves_of_run(dag)


def test_the_graph_explains_each_task_that_is_not_the_user_s() -> None:
    """As the task's documentation, and the group's tooltip; a description of the start that is given stays."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ask("ask", endpoint)
    assert [] == [each.task_id for each in dag.tasks if not each.doc_md and each.label != "ask"]
    assert "An inference endpoint that runs while the tasks inside do." == getattr(
        dag.task_group.children["demo"], "tooltip", ""
    )
    with DAG("other", schedule=None) as dag, inference_endpoint("demo", doc_md="Ours", **MODEL) as endpoint:
        ask("ask", endpoint)
    assert "Ours" == dag.get_task("demo.start").doc_md


def test_release_waits_for_every_task_of_the_work() -> None:
    """Not for the last ones only: they have failed as soon as one before them has, and others may still be sending."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        [ask("one", endpoint), ask("two", endpoint)] >> ask("last", endpoint)
    found = arrows(dag)
    assert all("demo.work_ended" in found[f"demo.{each}"] for each in ("one", "two", "last"))
    assert {"demo.one", "demo.two", "demo.last"} < found["demo.start"], "`last` takes the endpoint itself"
    assert {"demo.last", "demo.released"} == leaves_of_run(dag)


def test_an_endpoint_that_exists_needs_no_repository() -> None:
    """It is resumed; if its name is a template, the group has a separate name."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("{{ params.endpoint }}") as endpoint:
        ask("ask", endpoint)
    assert type(dag.get_task("endpoint.start")).__name__ == "ResumeInferenceEndpointOperator"


def test_several_groups_nested_groups_and_one_inside_a_task_group() -> None:
    """Names get a suffix; the outer endpoint is released when the inner one is."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo", **MODEL) as first:
            ask("ask", first)
        with inference_endpoint("demo", **MODEL) as outer:
            ask("ask", outer)
            with inference_endpoint("other", **MODEL) as inner:
                ask("ask", inner)
        with TaskGroup(group_id="around"), inference_endpoint("third", **MODEL) as third:
            ask("ask", third)
    found = arrows(dag)
    assert {"demo__1.ask", "demo__1.other.acquire", "demo__1.release"} == found["demo__1.start"]
    inside = {each for each, following in found.items() if "demo__1.work_ended" in following}
    assert {"demo__1.acquire", "demo__1.ask", "demo__1.other.released"} == inside
    assert "around.third.ask" in found["around.third.start"]
    work = {"demo.ask", "demo__1.ask", "demo__1.other.ask", "around.third.ask"}
    assert work < leaves_of_run(dag)
    assert {"demo.released", "demo__1.released", "around.third.released"} < leaves_of_run(dag)


def test_what_comes_after_the_group_waits_for_the_work() -> None:
    """Arrows to the group lead to its first task; those from it begin at the last ones of the work."""
    with DAG("dag", schedule=None) as dag:
        before, after = ask("before", "x"), ask("after", "x")
        group = inference_endpoint("demo", **MODEL)
        with group as endpoint:
            ask("ask", endpoint)
        before >> group >> after
    found = arrows(dag)
    assert {"demo.acquire"} == found["before"]
    assert [each for each, following in found.items() if "after" in following] == ["demo.ask"]


def test_a_group_stands_wherever_arrows_are_drawn() -> None:
    """In `chain`, in `cross_downstream`, in lists on either side, and after another group."""
    with DAG("dag", schedule=None) as dag:
        one, two = inference_endpoint("one"), inference_endpoint("two")
        for group in (one, two):
            with group as endpoint:
                ask("ask", endpoint)
        chain(ask("a", "x"), one, [two, ask("b", "x")])
        cross_downstream([two], [ask("c", "x"), ask("d", "x")])
        [ask("e", "x"), ask("f", "x")] >> two
        two << ask("g", "x")
    found = arrows(dag)
    assert {"one.acquire"} == found["a"]
    assert {"two.acquire", "b", "one.work_ended"} == found["one.ask"]
    assert {"c", "d", "two.work_ended"} == found["two.ask"]
    assert [{"two.acquire"}] * 3 == [found[each] for each in ("e", "f", "g")]


def test_mapped_tasks_sensors_and_taskflow_take_the_endpoint() -> None:
    """Whatever the work is made of, it is behind the start and before the release."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        BatchInferenceOperator.partial(
            task_id="batch", endpoint=endpoint, task="chat-completion", prompt="{a}", output_path="/out"
        ).expand(input_path=["/a", "/b"])
        InferenceEndpointSensor(task_id="wait", endpoint=endpoint)

        @task
        def look(endpoint: dict[str, Any]) -> str:
            return str(endpoint["url"])

        look(endpoint)
    for each in ("batch", "wait", "look"):
        assert "demo.start" in dag.get_task(f"demo.{each}").upstream_task_ids
        assert "demo.work_ended" in dag.get_task(f"demo.{each}").downstream_task_ids


def test_no_task_of_the_user_stands_directly_before_the_release() -> None:
    """A task that can skip its downstream tasks, mapped or not, skips a separate empty task: others may still work
    then.
    """
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        choose = BranchPythonOperator(task_id="choose", python_callable=list)
        many = ShortCircuitOperator.partial(task_id="many", python_callable=bool).expand(op_args=[[1], [2]])

        @task.branch
        def pick(endpoint: dict[str, Any]) -> None: ...

        with TaskGroup(group_id="more"):
            late = LatestOnlyOperator(task_id="late")
        [choose, many, pick(endpoint), late] >> ask("ask", endpoint)
        ask("work_ended", endpoint)
    found = arrows(dag)
    before = {each for each, following in found.items() if "demo.release" in following}
    own = {"demo.choose_ended", "demo.many_ended", "demo.pick_ended", "demo.more_late_ended"}
    assert own | {"demo.work_ended__1", "demo.acquire", "demo.start"} == before
    for name in ("choose", "many", "pick", "more.late"):
        assert {"demo.ask", f"demo.{name.replace('.', '_')}_ended"} == found[f"demo.{name}"]
    assert {"demo.ask", "demo.work_ended"} == {each for each in found if "demo.work_ended__1" in found[each]} - {
        "demo.acquire"
    }
    assert {"demo.ask", "demo.work_ended"} == {each.task_id for each in dag.task_group.children["demo"].leaves}  # type: ignore[attr-defined]


def test_what_can_skip_skips_no_release() -> None:
    """By Airflow's own words: a short circuit spares teardowns, whatever is behind it."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ShortCircuitOperator(task_id="stop", python_callable=bool) >> ask("ask", endpoint)
    behind = dag.get_task("demo.stop").get_flat_relatives(upstream=False)
    assert {"demo.ask"} == {each.task_id for each in behind if not each.is_teardown}


@pytest.mark.parametrize("downstream", [True, False])
def test_a_clear_of_the_work_clears_all_that_the_release_waits_for(downstream: bool) -> None:
    """A release that runs again waits for the work that runs again, also where only the task is cleared."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ask("one", endpoint) >> ask("two", endpoint)
        BranchPythonOperator(task_id="pick", python_callable=list)
    cleared = set(dag.partial_subset(["demo.one"], include_downstream=downstream, include_upstream=False).task_dict)
    own = {f"demo.{each}" for each in ("acquire", "start", "watch", "work_ended", "pick_ended", "release", "released")}
    assert own | {"demo.one"} | ({"demo.two"} if downstream else set()) == cleared


def test_the_watch_knows_what_it_watches() -> None:
    """The work, after the `acquire` of a use inside, if there is one; and what happens to the endpoint."""
    bounds: dict[str, Any] = {"max_startup": 60, "max_idle": timedelta(minutes=5)}
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", release="delete", **bounds) as endpoint:
        ask("ask", endpoint)
        with inference_endpoint("other") as other:
            ask("more", other)
    watch: Any = dag.get_task("demo.watch")
    assert watch.start_from_trigger
    given = watch.start_trigger_args.trigger_kwargs
    assert {"demo.ask", "demo.other.acquire", "demo.other.start", "demo.other.more"} == set(given.pop("work"))
    assert {
        "acquire_task_id": "demo.acquire",
        "start_task_id": "demo.start",
        "max_idle": 300.0,
        "release": "delete",
        "hf_endpoints_conn_id": "hf_endpoints_default",
    } == given
    assert timedelta(minutes=6) < watch.start_trigger_args.timeout


@pytest.mark.parametrize(
    "given", [{"max_idle": None}, {"deferrable": False}, {"hf_endpoints_conn_id": "{{ params.conn }}"}]
)
def test_where_nothing_is_watched(given: dict[str, Any]) -> None:
    """Where that is asked for; and where no triggerer is known of, or its arguments are not."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **given) as endpoint:
        ask("ask", endpoint)
    assert "demo.watch" not in dag.task_dict


def test_a_task_of_the_user_may_be_called_watch() -> None:
    """The one of the group has another name then."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo") as endpoint:
        ask("watch", endpoint)
    assert {"demo.watch", "demo.watch__1"} < set(dag.task_dict)


def test_groups_that_come_later_are_known_to_the_dag() -> None:
    """A branch may name one: Airflow 3.0 remembers the groups as they were when it is asked first."""
    with DAG("dag", schedule=None) as dag:
        with inference_endpoint("demo") as endpoint:
            ask("ask", endpoint)
        with TaskGroup(group_id="later"):
            ask("other", "x")
    assert {"demo", "later"} == set(dag.task_group_dict)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"hf_endpoints_conn_id": None}, "hf_endpoints_conn_id=None is not valid. Give a string"),
        ({"max_idle": "soon"}, "max_idle='soon' is not a number"),
        ({"lease": None}, "lease=None is not valid"),
        ({"lease": float("inf")}, "lease=inf is not valid"),
        ({"max_startup": float("nan")}, "max_startup=nan is not valid"),
        ({"deferrable": 1}, "deferrable=1 is not valid. Give True or False"),
        ({"release": "stop"}, "release='stop' is not valid"),
        ({"group_id": 3}, "group_id=3 is not valid"),
        ({"task_id": "begin"}, r"task_id is set by inference_endpoint\(…\) itself"),
        ({"endpoint": "demo"}, "endpoint is set by"),
        ({"max_replica": 3}, "max_replica is for an endpoint that is created, but there is no repository"),
        ({"trigger_rule": "all_done"}, "trigger_rule='all_done' is not valid"),
    ],
)
def test_an_argument_that_can_t_be_meant(given: dict[str, Any], words: str) -> None:
    """By its own name, and before the group is there."""
    with pytest.raises(ValueError, match=words):
        inference_endpoint("demo", **given)


@pytest.mark.parametrize("name", [None, 3, b"demo", ["demo"], {"name": "demo"}, "Demo", ""])
def test_what_is_no_name(name: Any) -> None:
    """A template may become one, and so may another task's result."""
    with pytest.raises(ValueError, match="the name of an endpoint"):
        inference_endpoint(name)
    with DAG("dag", schedule=None) as dag:

        @task
        def names() -> str:
            return "demo"

        result: Any = names()
        for index, later in enumerate(("{% if params.x %}a{% else %}b{% endif %}", "{{ params.x }}", result)):
            with inference_endpoint(later, group_id=f"group{index}") as endpoint:
                ask("ask", endpoint)
        with pytest.raises(ValueError, match="hf_endpoints_conn_id is the result of another task"):
            inference_endpoint("demo", hf_endpoints_conn_id=result)
    stored(dag)


@pytest.mark.parametrize("label", ["watch", "work_ended", "pick_ended"])
def test_a_group_of_the_user_may_be_called_as_a_task_of_ours(label: str) -> None:
    """Airflow has one namespace for both."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo") as endpoint:
        BranchPythonOperator(task_id="pick", python_callable=list)
        with TaskGroup(group_id=label):
            ask("ask", endpoint)
    assert f"demo.{label}__1" in dag.task_dict
    assert {"demo.watch", "demo.watch__1"} & set(dag.task_dict)


@pytest.mark.parametrize("max_idle", [0, -1, timedelta(0), float("inf")])
def test_a_bound_that_can_t_be_meant(max_idle: Any) -> None:
    """Told when the DAG is read."""
    with pytest.raises(ValueError, match="max_idle="):
        inference_endpoint("demo", max_idle=max_idle)


def test_as_a_decorator() -> None:
    """The function gets the endpoint first; each call makes a separate group, named after it."""
    with DAG("dag", schedule=None) as dag:

        @inference_endpoint("demo", **MODEL)
        def summarise(endpoint: Any, path: str) -> Any:
            ask(path, endpoint)

        summarise("one") >> summarise("two")
    assert {"summarise.one", "summarise.release"} == arrows(dag)["summarise.start"]
    assert {"summarise.work_ended", "summarise__1.acquire"} == arrows(dag)["summarise.one"]
    assert "summarise__1.two" in dag.task_dict


def test_a_decorated_function_can_be_mapped() -> None:
    """An endpoint for each of the values, known when the task runs."""
    with DAG("dag", schedule=None) as dag:

        @inference_endpoint("demo", **MODEL)
        def summarise(endpoint: Any, text: str) -> Any:
            InferenceOperator(task_id="ask", endpoint=endpoint, task="chat-completion", inputs=text)

        summarise.expand(text=["a", "b"])
    assert {"summarise.ask", "summarise.release"} == arrows(dag)["summarise.start"]
    stored(dag)


def test_the_connection_is_that_of_the_tasks_inside() -> None:
    """Unless they name another one."""
    with DAG("dag", schedule=None), inference_endpoint("demo", hf_endpoints_conn_id="mine", **MODEL) as endpoint:
        one, two = ask("one", endpoint), ask("two", endpoint, hf_endpoints_conn_id="yours")
    assert (one.hf_endpoints_conn_id, two.hf_endpoints_conn_id) == ("mine", "yours")


def test_a_release_is_tried_for_long() -> None:
    """Ten times with growing pauses, whatever the DAG's own tasks do."""
    impatient = {"retries": 0, "retry_delay": timedelta(0)}
    with DAG("dag", schedule=None, default_args=impatient) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ask("ask", endpoint)
    release = dag.get_task("demo.release")
    assert (10, timedelta(seconds=30)) == (release.retries, release.retry_delay)
    assert release.retry_exponential_backoff
    assert dag.get_task("demo.start").retries == 0


def stored(dag: DAG) -> Any:
    return SERIALIZATION.from_dict(json.loads(json.dumps(SERIALIZATION.to_dict(dag))))


def test_it_serializes_as_what_it_is() -> None:
    """The scheduler sees setups, a teardown, and a task that it need not start."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", release="delete", **MODEL) as endpoint:
        ask("ask", endpoint)
    tasks = stored(dag).task_dict
    assert (tasks["demo.acquire"].is_setup, tasks["demo.start"].is_setup) == (True, True)
    assert tasks["demo.release"].is_teardown
    assert tasks["demo.released"].inherits_from_empty_operator
    assert tasks["demo.work_ended"].inherits_from_empty_operator
    assert tasks["demo.work_ended"].is_teardown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "No Name"}, "name='No Name'"),
        ({"name": "demo", "hardware": ["aws/us-east-1/nvidia-l4/x1"]}, "without repository"),
        ({"name": "demo", "repository": "gpt2"}, "vendor, region"),
        ({"name": "demo", "repository": "gpt2", "hardware": ["l4"]}, "'l4' is not of the form vendor/region"),
        ({"name": "demo", "release": "forget"}, "release='forget'"),
        ({"name": "demo", "max_startup": 0}, "time limit"),
        ({"name": "demo", "max_cost": 0}, "max_cost=0 is not valid. Give a positive number"),
        ({"name": "demo", "max_runtime": timedelta(0)}, "max_runtime=0.0 is not valid. Give a positive number"),
    ],
)
def test_bad_arguments_are_told_when_the_dag_is_read(arguments: dict[str, Any], words: str) -> None:
    """With the field, the value and the fix, before any run."""
    with (
        DAG("dag", schedule=None),
        pytest.raises((ValueError, InvalidArgumentError)) as caught,
        inference_endpoint(**arguments) as endpoint,
    ):
        ask("ask", endpoint)
    assert words in str(caught.value)
    with DAG("next", schedule=None) as dag:
        ask("alone", "demo")
    assert {"alone"} == set(dag.task_dict), "the group is closed"


def test_a_decorated_function_takes_an_endpoint() -> None:
    """One without a first parameter for it is refused where it is written."""
    with pytest.raises(TypeError, match="takes no endpoint"):
        inference_endpoint("demo", **MODEL)(lambda *, path: None)


def test_a_budget_is_of_the_whole_use() -> None:
    """Opened by `acquire`, from which start and work get it; the start has no separate one."""
    limits: dict[str, Any] = {"max_cost": 5.0, "max_runtime": timedelta(hours=1)}
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", **limits, **MODEL) as endpoint:
        ask("ask", endpoint)
    acquire: Any = dag.get_task("demo.acquire")
    assert (5.0, 3600.0) == (acquire.limits.max_cost, acquire.limits.max_runtime)
    start: Any = dag.get_task("demo.start")
    assert (None, None) == (start.max_cost, start.max_runtime)
    stored(dag)


# Of `BaseOperator`, all that can keep a task from running, or from telling its result: a task of ours has none of it.
HOLDS_BACK: dict[str, Any] = {
    "depends_on_past": True,
    "wait_for_downstream": True,
    "wait_for_past_depends_before_skipping": True,
    "trigger_rule": "one_failed",
    "end_date": datetime(2020, 1, 1, tzinfo=UTC),
    "start_date": datetime(2090, 1, 1, tzinfo=UTC),
    "pool": "full",
    "pool_slots": 64,
    "max_active_tis_per_dag": 1,
    "max_active_tis_per_dagrun": 1,
    "execution_timeout": timedelta(seconds=1),
    "do_xcom_push": False,
    "on_execute_callback": print,
    "on_success_callback": print,
    "map_index_template": "{{ task.op_kwargs['text'] }}",
    "inlets": [Asset("in")],
    "outlets": [Asset("out")],
    "wait_for_completion": False,
    "timeout": 5.0,
}
WORK: dict[str, Any] = {"depends_on_past": False, "wait_for_downstream": False}


def test_default_args_hold_no_task_of_ours_back() -> None:
    """They are for the work: what would keep the release from running would keep the endpoint running."""
    day = datetime(2026, 1, 1, tzinfo=UTC)
    with (
        DAG("dag", schedule=None, default_args=HOLDS_BACK, start_date=day) as dag,
        inference_endpoint("demo", **MODEL) as it,
    ):
        ask("ask", it, trigger_rule="all_success", **WORK)
    with DAG("dag", schedule=None, start_date=day) as plain, inference_endpoint("demo", **MODEL) as it:
        ask("ask", it)
    for task_id in ("acquire", "start", "work_ended", "release", "released"):
        ours, usual = dag.get_task(f"demo.{task_id}"), plain.get_task(f"demo.{task_id}")
        callbacks = (
            {"on_execute_callback", "on_success_callback"} if task_id in ("acquire", "start", "release") else set()
        )
        for name in HOLDS_BACK.keys() - callbacks:
            assert getattr(usual, name, None) == getattr(ours, name, None), f"{name} of {task_id}"
    stored(dag)


@pytest.mark.parametrize("name", ["depends_on_past", "wait_for_downstream"])
@pytest.mark.parametrize("given", ["by the task", "by default_args", "to a mapped one"])
def test_work_that_waits_for_the_run_before_is_refused(name: str, given: str) -> None:
    """Its endpoint would bill, forever if that run has failed; the error says where it may be."""
    defaults = {name: True} if given == "by default_args" else {}
    own: dict[str, Any] = {} if defaults else {name: True}

    def write() -> None:
        with inference_endpoint("demo", **MODEL) as endpoint:
            if given == "to a mapped one":
                InferenceOperator.partial(task_id="ask", endpoint=endpoint, task="chat-completion", **own).expand(
                    inputs=["a"]
                )
            else:
                ask("ask", endpoint, **own)

    with DAG("dag", schedule=None, default_args=defaults), pytest.raises(ValueError, match=rf"demo\.ask.*{name}=True"):
        write()
    with DAG("next", schedule=None) as dag:
        ask("alone", "demo")
    assert {"alone"} == set(dag.task_dict), "the group is closed"


@pytest.mark.parametrize("given", ["by the task", "by default_args", "to a mapped one", "outside of the group"])
def test_a_trigger_rule_directly_after_the_start_is_refused(given: str) -> None:
    """Airflow would refuse the whole file, without naming a task; a task after the work may have any rule."""
    defaults = {"trigger_rule": "all_done"} if given == "by default_args" else {}
    own: dict[str, Any] = {} if defaults else {"trigger_rule": "all_done"}

    def write() -> None:
        with inference_endpoint("demo", **MODEL) as endpoint:
            if given == "to a mapped one":
                InferenceOperator.partial(task_id="ask", endpoint=endpoint, task="chat-completion", **own).expand(
                    inputs=["a"]
                )
            elif given != "outside of the group":
                ask("ask", endpoint, **own)
        ask("ask", endpoint, **own)

    refusal = r"'(demo\.)?ask' comes directly after the start .* trigger_rule='all_done'"
    with DAG("dag", schedule=None, default_args=defaults), pytest.raises(ValueError, match=refusal):
        write()
    with DAG("next", schedule=None) as dag, inference_endpoint("demo", **MODEL) as endpoint:
        ask("ask", endpoint) >> EmptyOperator(task_id="after", trigger_rule="one_failed")
    dag.validate()  # type: ignore[no-untyped-call]


def test_what_is_given_to_the_start_is_the_start_s() -> None:
    """Only what `default_args` say is left out."""
    with DAG("dag", schedule=None) as dag, inference_endpoint("demo", pool="starts", **MODEL) as endpoint:
        ask("ask", endpoint)
    assert ("starts", "default_pool") == (dag.get_task("demo.start").pool, dag.get_task("demo.release").pool)


@pytest.mark.parametrize("given", [{"deferrable": False}, {"hf_endpoints_conn_id": "{{ params.conn }}"}])
def test_a_bound_that_nothing_watches_is_refused(given: dict[str, Any]) -> None:
    """A user's bound would be a promise that no task keeps; the default one promises nothing there."""
    with pytest.raises(ValueError, match="max_idle=300 is watched in the triggerer"):
        inference_endpoint("demo", max_idle=300, **given)
    inference_endpoint("demo", max_idle=None, **given)
    inference_endpoint("demo", **given)
