"""Settings from a scenario: what is refused at the start, so that no run fails at its end."""

import math
import sys

import pytest
from microgpt_harness.program.settings import OPTIONS, read_config_file
from microgpt_harness.run import bounds
from microgpt_harness.system.errors import UserError
from program import NUMPY, PYTHON, fails, run

BY_NAME = {option.name: option for option in OPTIONS}


@pytest.mark.parametrize("name", bounds.CONFIG)
def test_what_can_be_set_can_be_saved(name):
    """At the bounds and right beside them, what a flag may set is what a checkpoint's config may hold."""
    allowed, kind = bounds.CONFIG[name], int if isinstance(bounds.CONFIG[name], bounds.Whole) else float
    ends = (allowed.smallest, allowed.largest if kind is int else min(allowed.below, sys.float_info.max))
    beside = [end + by if kind is int else math.nextafter(end, by * math.inf) for end in ends for by in (-1, 1)]
    accepted = {value: is_accepted(BY_NAME[name].parse, value) for value in (*map(kind, ends), *beside)}
    assert accepted == {value: value in allowed for value in accepted}
    assert {True, False} == set(accepted.values())
    assert not any(value in allowed for value in (math.nan, math.inf, -math.inf, True, "1", None, 10**400))


def is_accepted(parse, value) -> bool:
    try:
        return parse(value) == value
    except ValueError:
        return False


BAD_SCENARIOS = {
    "too small to be saved": ("[training]\neps_adam = 1e-310", ("eps_adam = 1e-310", "at least 1e-300")),
    "a whole number that no float can hold": ("[training]\nlr = 1" + "0" * 400, ("lr = 1000", "above 0")),
    "one that Python does not write out": ("[training]\nsteps = 0x" + "f" * 5000, ("steps", "digits", "at most")),
    "one that Python does not read": ("[training]\nsteps = 1" + "0" * 5000, ("scenario.toml", "TOML")),
    "nested too deeply": ("[data]\ndataset = " + "[" * 50_000, ("scenario.toml", "TOML")),
    "a whole number in quotes": ('[training]\nsteps = "20"', ("[training]", "steps = '20'", "quotes")),
    "a fraction in quotes": ('[training]\nlr = "0.5"', ("[training]", "lr = '0.5'", "quotes")),
    "a mode of thousands of digits": ("[data]\nmode = 0x" + "f" * 5000, ("[data]", "mode must be", "digits")),
    "larger than any": ("#" * 70_000, ("scenario.toml", "larger than 65,536 bytes")),
    "more attention than memory": ("[model]\nblock_size = 5000", ("4 heads", "100,000,000", "--block-size")),
    "a dataset of too long a name": ("[data]\ndataset = '" + "x" * 300 + "'", ("unknown dataset",)),
    "under both names": ("[training]\nlr = 0.5\nlearning_rate = 0.5", ("learning_rate and lr", "the same setting")),
}


@pytest.mark.parametrize("content, says", BAD_SCENARIOS.values(), ids=BAD_SCENARIOS)
def test_refused_at_the_start(content, says, tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text(content, encoding="utf-8")
    line = fails(PYTHON, "--config", scenario, "--out", tmp_path / "out", says=says)
    assert len(line) < 300 + len(str(scenario)) and not (tmp_path / "out").exists()


def test_a_scenario_in_another_encoding_is_refused_like_a_dataset(tmp_path):
    (tmp_path / "scenario.toml").write_bytes("# für 20 Schritte".encode("latin-1"))
    fails(PYTHON, "--config", tmp_path / "scenario.toml", says=("scenario.toml", "not UTF-8 at byte 3 (0xfc)"))


def test_text_may_stand_in_quotes(tmp_path):
    scenario = tmp_path / "scenario.toml"
    scenario.write_text('[training]\ndtype = "float32"\nlr = 1\n[sampling]\nprompt = "12"\n', encoding="utf-8")
    assert read_config_file(scenario).values == {"dtype": "float32", "learning_rate": 1.0, "prompt": "12"}
    scenario.write_text("[sampling]\nprompt = 12\n", encoding="utf-8")
    with pytest.raises(UserError, match="it must be text"):
        read_config_file(scenario)


def test_an_unlimited_penalty_is_no_fault_of_the_weights(tmp_path):
    """A score that it drives to -inf says: never again. What is said once is not said twice, and that is all."""
    run(NUMPY, "--out", tmp_path, "--steps", 300, "--n-samples", 1, "--val-every", 0, "--no-plot")
    for flags in ([], ["--temperature", 0], ["--top-k", 2]):
        penalty = ("--repetition-penalty", 1e308)
        assert len(run(NUMPY, "sample", "--out", tmp_path, "--n-samples", 5, *penalty, *flags).samples) == 5
