"""What a family leaves out has a meaning of its own."""

from liverleaf.data.network_input import InputConfig
from liverleaf.models import registry
from liverleaf.models.family import NoLossWeights, Output, any_recipe, no_defaults
from liverleaf.study import Modality


def test_a_family_that_says_nothing_of_it_has_no_defaults_and_refuses_nothing() -> None:
    assert no_defaults(InputConfig(Modality.CT), NoLossWeights()) == {}
    assert any_recipe(None) is None
    assert NoLossWeights() == NoLossWeights()


def test_outputs_are_words_in_files() -> None:
    assert Output("lesion_type") is Output.LESION_TYPE
    assert [str(output) for output in Output] == [output.value for output in Output]


def test_every_family_that_ships_costs_and_answers_for_slices_but_one_in_3d() -> None:
    for name in registry.FAMILIES:
        family = registry.family(name)
        assert family.example_input is not None
        assert (family.infer_slices is None) == (name == "lidia")
