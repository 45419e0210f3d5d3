"""What can be played with in the chapters from Loss to Inference, used with the mouse and with the keyboard alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def widget(page: Any, name: str) -> Any:
    place = page.locator(f"[data-widget={name}]")
    place.locator("h3").wait_for()
    return place


def given(place: Any) -> Any:
    """Return what the chapter gave the widget."""
    return json.loads(place.locator("xpath=./script").text_content())


def said(place: Any) -> str:
    text: str = place.locator("[role=status]").inner_text()
    return text


def choose(place: Any, label: str) -> None:
    place.get_by_role("radio", name=label, exact=True).check()


def slide(slider: Any, key: str) -> None:
    slider.focus()
    slider.press(key)


def test_surprise_says_the_recorded_loss_of_each_name_and_moment(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-loss.html"), "surprise")
    slider = place.get_by_role("slider")
    for document in given(place)["documents"]:
        choose(place, document["name"])
        slide(slider, "Home")
        for moment in document["moments"]:
            assert f"After {moment['step']} steps" in said(place)
            assert f"is {moment['loss']:.3f}" in said(place)
            slider.press("ArrowRight")


def test_surprise_shows_what_was_expected_by_keyboard(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-loss.html"), "surprise")
    document = given(place)["documents"][0]
    token = place.get_by_role("group", name="Look closer at").get_by_role("radio").first
    token.focus()
    token.press("ArrowRight")
    expected = place.locator("table.bars").nth(1)
    assert document["tokens"][1] in expected.locator("caption").inner_text()
    guesses = [name for name, _ in document["moments"][-1]["likeliest"][1]]
    assert expected.locator("th").all_inner_texts()[: len(guesses)] == guesses
    assert expected.locator("tr.marked th").inner_text() == document["tokens"][2]


def test_nudge_foretells_and_computes(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-gradients.html"), "nudge")
    slider = place.get_by_role("slider")
    for weight in given(place)["weights"]:
        choose(place, weight["label"].split(",")[0])
        place.locator("svg text.up").nth(2).wait_for()  # three at least, however flat the curve is
        ticks = place.locator("svg text.up").all_text_contents()
        assert len(set(ticks)) == len(ticks)
        for key, at in (("Home", 0), ("End", -1)):
            slide(slider, key)
            middle = weight["losses"][len(weight["losses"]) // 2]
            foretold = middle + weight["grad"] * weight["nudges"][at]
            assert f"the loss is {weight['losses'][at]:.4f}" in said(place)
            assert f"= {foretold:.4f}" in said(place).replace("−", "-")


def test_walking_back_by_keyboard_ends_with_all_gradients(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-gradients.html"), "backward")
    graph = given(place)["graph"]
    following, before = (place.get_by_role("button", name=name) for name in ("Next move", "Back"))
    following.focus()
    for number, move in enumerate(graph["passes"], start=1):
        following.press("Enter")
        assert place.locator("table.moves tbody tr").count() == number
        assert f"on to {move['child']}" in said(place)
    assert following.get_attribute("aria-disabled") == "true"
    following.press("Enter")  # there is nothing more to do, and it does nothing
    label = place.locator("svg").get_attribute("aria-label")
    for name, grad in graph["grads"].items():
        assert re.search(rf"\b{name} {grad:g}\b", label)
    before.click()
    assert place.locator("table.moves tbody tr").count() == len(graph["passes"]) - 1
    place.get_by_role("button", name="Start again").click()
    assert place.locator("table.moves tbody tr").count() == 0


@pytest.mark.parametrize("chapter", ["optimizer", "training"])
def test_steps_are_chosen_by_keyboard_and_on_the_picture(site: Path, visit: Callable[..., Any], chapter: str) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-{chapter}.html"), "steps")
    slider = place.get_by_role("slider")
    last = given(place)["options"][0]["pictures"][0]["curves"][0]["values"][-1]
    slide(slider, "End")
    assert f"{last:.3f}"[:5] in said(place).replace("−", "-")
    picture = place.locator(".curves svg").first
    picture.scroll_into_view_if_needed()
    box = picture.bounding_box()
    picture.click(position={"x": box["width"] / 2, "y": 50})
    steps = int(slider.get_attribute("max"))
    assert 0.3 * steps < int(slider.input_value()) < 0.7 * steps
    slider.press("ArrowLeft")
    assert f"tep {slider.input_value()}:" in said(place)


def test_every_chosen_weight_has_its_curves(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-optimizer.html"), "steps")
    for option in given(place)["options"]:
        choose(place, option["label"])
        assert option["title"] in said(place)
        assert place.locator(".curves svg").count() == len(option["pictures"])


def test_marked_steps_are_gone_to(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-training.html"), "steps")
    data = given(place)
    for text, step in data["marks"]:
        place.get_by_role("button", name=text, exact=True).press("Enter")
        [[_, names]] = data["options"][0]["facts"]
        assert names[step - 1] in said(place)


def test_at_the_lessons_temperature_the_recorded_names_are_drawn(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-inference.html"), "sampling")
    names = given(place)["names"]
    following = place.get_by_role("button", name="Next draw")
    for i, name in enumerate(names):
        place.get_by_role("group", name="Name").get_by_role("radio").nth(i).check()
        for draw in name:
            assert f"falls on {draw['token']}, " in said(place)
            off = re.search(r"at most (\S+)\.$", place.locator("p.small").inner_text())
            assert off
            assert float(off[1]) < 1e-5
            following.press("Enter")


def test_temperature_moves_the_probabilities(site: Path, visit: Callable[..., Any]) -> None:
    place = widget(visit(f"{site.as_uri()}/chapter-inference.html"), "sampling")
    draw = given(place)["names"][0][0]
    vocabulary = given(place)["vocabulary"]
    likeliest = vocabulary[max(range(len(vocabulary)), key=lambda token: draw["logits"][token])]
    slider = place.get_by_role("slider")

    def share() -> float:
        row = place.locator("table.bars tr", has=place.page.locator(f"th:text-is('{likeliest}')"))
        return float(row.locator(".number").inner_text().removesuffix(" %"))

    slide(slider, "Home")
    cold = share()
    slide(slider, "End")
    hot = share()
    assert hot < 100 * draw["probs"][vocabulary.index(likeliest)] < cold
