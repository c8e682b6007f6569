"""Specs and the user's mistakes in them: one line that says what, where and what would be right."""

import inspect
import pydoc
from typing import Literal

import pydantic
import pytest

import degeneracy as dg
from degeneracy.core.errors import UserError, unknown_name
from degeneracy.core.specs import Spec, choices_of
from degeneracy.training.schedules import CosineWarmRestarts


class Inner(Spec):
    width: int = pydantic.Field(2, ge=1)


class Outer(Spec):
    inner: Inner = Inner()
    needed: float


def line(made) -> str:
    with pytest.raises(UserError) as caught:
        made()
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_each_mistake_is_one_line_that_names_the_field() -> None:
    assert line(lambda: Outer()) == "Outer: 'needed' is missing"
    assert line(lambda: Outer(needed="x")).startswith("Outer: needed = 'x' is wrong: ")
    assert line(lambda: Inner(width=0)) == ("Inner: width = 0 is wrong: Input should be greater than or equal to 1")
    assert line(lambda: Inner(widht=3)) == "Inner: unknown key 'widht'; did you mean 'width'? (known: width)"
    assert line(lambda: Outer(needed=1, inner={"width": 0})).startswith("Inner: width = 0 is wrong")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    assert "needed" in line(lambda: Outer(needed=bad))


def test_a_mistake_is_no_pydantic_error_and_hides_its_traceback() -> None:
    with pytest.raises(UserError) as caught:
        Outer()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_specs_are_frozen_and_replaced() -> None:
    spec = Outer(needed=1)
    with pytest.raises(pydantic.ValidationError):
        spec.needed = 2  # type: ignore[misc]
    other = spec.replace(needed=2)
    assert (spec.needed, other.needed, other.inner) == (1, 2, Inner())
    assert "needed" in line(lambda: spec.replace(needed="no"))
    assert "unknown key" in line(lambda: spec.replace(neded=1))


def test_what_was_not_set_is_still_taken_from_the_tasks_defaults_after_a_replacement() -> None:
    task = dg.tasks.SineWave()
    training = dg.Training(batch_size=7).replace(clip_norm=2.0).for_task(task)
    assert (training.batch_size, training.clip_norm) == (7, 2.0)
    assert training.learning_rate == task.training_defaults["learning_rate"] != dg.Training().learning_rate


@pytest.mark.parametrize("given", [3, {"name": ["constant"]}, {"period": 3}])
def test_a_schedule_of_another_kind_is_refused(given: object) -> None:
    assert "schedule" in line(lambda: dg.Training(schedule=given))


@pytest.mark.parametrize("part", ["task", "network", "training"])
def test_a_whole_part_is_varied_by_tables(part: str) -> None:
    task = {} if part == "task" else {"name": "flip_flop"}
    made = line(lambda: dg.Study(name="a", seeds="0:2", task=task, vary={part: ["gru", "lstm"]}))
    assert f"'{part}.FIELD'" in made


def test_an_unknown_name_lists_the_known_and_the_closest() -> None:
    error = unknown_name("measure", "procrusts", ["dsa", "procrustes"], where="options")
    assert str(error) == "options: unknown measure 'procrusts'; did you mean 'procrustes'? (known: dsa, procrustes)"
    assert "did you mean" not in str(unknown_name("measure", "xyz", ["dsa"]))


def test_specs_inside_specs_say_it_themselves() -> None:
    assert line(lambda: dg.Network(cell="gru2")).startswith("unknown cell 'gru2'; did you mean 'gru'?")
    assert "tau" in line(lambda: dg.Network(cell="leaky_tanh", cell_options={"tau": 3}))
    assert "unknown schedule 'cosine'" in line(lambda: dg.Training(schedule="cosine"))
    assert "unknown key 'perid'" in line(lambda: dg.Training(schedule={"name": "cosine_warm_restarts", "perid": 3}))


def test_a_training_keeps_its_schedules_fields_through_plain_data() -> None:
    training = dg.Training(schedule={"name": "cosine_warm_restarts", "period": 7})
    assert training.schedule == CosineWarmRestarts(period=7)
    assert dg.Training(**training.model_dump(mode="json")) == training


def test_a_networks_options_survive_plain_data() -> None:
    network = dg.Network(cell="leaky_tanh", cell_options={"tau_ms": 40.0, "form": "current"}, sigma_rec=0.1)
    assert dg.Network(**network.model_dump(mode="json")) == network
    assert network.build_cell().alpha == 0.5  # 20 / 40


def test_help_lists_the_fields_with_their_defaults_and_meanings() -> None:
    said = dg.Training.__doc__ or ""
    assert said.startswith("How members are trained")
    assert "    n_fixed_trials = 0: size of a fixed set of trials; 0 draws fresh ones" in said
    assert "    coupling.strength = 0.0: > 0 attracts" in said  # by its whole key, as in a study file
    assert "of 'initialisation', 'data', 'noise'" in " ".join(said.split()), "lines break between words"
    assert "    channels = 3: number of bits" in (dg.tasks.FlipFlop.__doc__ or "")
    assert (Outer.__doc__ or "") == "Fields:\n    inner.width = 2\n    needed"


def test_help_says_of_a_spec_inside_what_the_field_makes_of_it() -> None:
    class Wide(Spec):
        inner: Inner = Inner(width=5)

    assert Wide.__doc__ == "Fields:\n    inner.width = 5"
    assert "    claims.weights.measure = 'signed_pif': that the level is judged by" in (dg.Study.__doc__ or "")


@pytest.mark.skipif(
    not hasattr(pydantic.fields.FieldInfo, "default_factory_takes_validated_data"), reason="pydantic < 2.10"
)
def test_a_default_that_depends_on_other_fields_is_left_to_them() -> None:
    class Square(Spec):
        width: int = 2
        height: int = pydantic.Field(default_factory=lambda fields: fields["width"])

    assert Square(width=3).height == 3
    assert Square.__doc__ == "Fields:\n    width = 2\n    height"


def test_choices_are_named_where_there_are_no_other_values() -> None:
    assert choices_of(Literal["a"] | Literal["b"] | None) == ("a", "b")
    assert choices_of(tuple[Literal["a", "b"], ...]) == ("a", "b")
    assert choices_of(bool | Literal["auto"]) == ()


def test_a_class_with_a_value_of_no_type_is_told_so_in_one_line() -> None:
    def make() -> None:
        class Mine(dg.Task):
            name, summary = "mine", "nothing"
            input_size = 4

    assert line(make) == (
        "class Mine: the type of 'input_size' is not said; write 'input_size: ClassVar[int] = ...' for what is the same"
        " in all of them, or 'input_size: int = ...' for a field (with the type that it has)"
    )


def test_who_writes_toml_is_told_of_lists_and_tables() -> None:
    assert line(lambda: dg.Training(checkpoints=0.5)) == "Training: checkpoints = 0.5 is wrong: a list is needed"
    assert line(lambda: dg.Training(regularisers=3)) == "Training: regularisers = 3 is wrong: a table is needed"
    assert line(lambda: dg.Training(coupling=3)) == ("Training: coupling = 3 is wrong: a table of its fields is needed")


@pytest.mark.parametrize("kind", [dg.Network, dg.Training, dg.Study, *dg.CELLS.values(), *dg.MEASURES.values()])
def test_help_of_a_spec_shows_what_it_offers_and_nothing_of_pydantic(kind: type[Spec]) -> None:
    text = pydoc.render_doc(kind, renderer=pydoc.plaintext)
    assert "replace(self" in text
    assert "model_" not in text
    assert "__pydantic" not in text
    assert len(text.splitlines()) < 200, "pydantic alone would add 400 more"


def test_help_of_a_network_fits_on_a_screen() -> None:
    assert len(pydoc.render_doc(dg.Network, renderer=pydoc.plaintext).splitlines()) < 60


def test_completion_lists_fields_and_methods() -> None:
    assert {"hidden_size", "build_cell", "replace"} <= set(dir(dg.Network()))
    assert not [name for name in dir(dg.Network()) if name.startswith(("model_", "__pydantic"))]


@pytest.mark.parametrize("name", [name for name in dg.__all__ if inspect.isfunction(getattr(dg, name))])
def test_signatures_can_be_read(name: str) -> None:
    assert len(str(inspect.signature(getattr(dg, name)))) < 1200
