"""Records of 0.1 under today's names; those of today stay as they are."""

from liverleaf.models.upgrade import upgrade_model, upgrade_recipe, upgrade_run, upgrade_table


def test_fields_are_renamed_and_zero_becomes_none() -> None:
    old = {"phases": ["pre"], "calibrate": False, "pixel_mm": 0.0, "size": 64}
    assert upgrade_table("input", old) == {
        "channels": ["pre"],
        "normalise_on_liver": False,
        "pixel_mm": None,
        "size": 64,
    }
    assert upgrade_table("optimisation", {"steps": 0, "head_rate": 0.0, "warmup": 0}) == {
        "steps": None,
        "head_rate": None,
        "warmup": 0,
    }
    assert upgrade_table("network", {"measured": True}) == {"residual_curve": True}
    assert upgrade_table("sampling", {"uncalibrated": 0.1}) == {"wrong_normalisation": 0.1}


def test_numbers_of_enums_become_names() -> None:
    old = {"phases": [1, 4], "types": [0, 3]}
    expected = {"channels": ["arterial", "hepatobiliary"], "types": ["hcc", "haemangioma"]}
    assert upgrade_table("input", old) == expected


def test_what_is_of_today_is_left_alone() -> None:
    recipe = {
        "name": "n",
        "family": "unet",
        "input": {"channels": ["t2w"], "pixel_mm": 2.0},
        "loss": {},
        "optimisation": {"steps": 3},
    }
    assert upgrade_recipe(recipe) == recipe
    run = {"schema_version": 2, "family": "unet", "recipe": recipe}
    assert upgrade_run(run) == run


def test_baselines_lose_what_0_1_wrote_of_mti_net() -> None:
    record = {
        "name": "n",
        "loss": {"bce": 1.0, "curve": 1.0, "type": 0.0},
        "optimisation": {"discriminator_rate": 1e-4, "steps": 5},
    }
    run = upgrade_run({"network": "classifier", "recipe": record, "fold": None})
    assert run["family"] == run["recipe"]["family"] == "classifier" and "network" not in run
    assert run["recipe"]["loss"] == {"curve": 1.0, "type": 0.0}
    assert run["recipe"]["optimisation"] == {"steps": 5}
    assert upgrade_recipe(record, "unet")["loss"] == {}
    assert upgrade_recipe(record, "mti-net")["loss"] == record["loss"]
    assert record["optimisation"]["discriminator_rate"] == 1e-4  # nothing is changed in place


def test_the_kind_of_network_is_the_family() -> None:
    upgraded = upgrade_recipe({"name": "n", "network": {"kind": "unet", "size": 64}})
    assert (upgraded["family"], upgraded["network"]) == ("unet", {"size": 64})


def test_a_description_of_a_model() -> None:
    upgraded = upgrade_model(
        {
            "network": "mti-net",
            "calibrated": {"temperature": 2.0},
            "input_config": {"phases": ["pre"]},
            "network_config": {"measured": False},
            "training": {"recipe": {"name": "n"}},
        }
    )
    assert upgraded == {
        "family": "mti-net",
        "calibration": {"temperature": 2.0},
        "input_config": {"channels": ["pre"]},
        "network_config": {"residual_curve": False},
        "training": {"recipe": {"name": "n", "family": "mti-net"}},
    }
