"""Captions: factors to words and back."""

import itertools

import pytest

from tinygen.data import FACTOR_NAMES, caption_of, parse_caption, random_prompts
from tinygen.errors import TinygenError


def test_every_scene_has_a_caption_of_its_own_that_parses_back():
    sizes = [len(names) for names in FACTOR_NAMES.values()]
    scenes = [scene for k, scene in enumerate(itertools.product(*map(range, sizes))) if k % 7 == 0]
    captions = [caption_of(scene) for scene in scenes]
    assert len(set(captions)) == len(scenes) > 10_000
    for scene, caption in list(zip(scenes, captions))[::5]:
        assert tuple(parse_caption(caption).tolist()) == scene


@pytest.mark.parametrize("named, caption", [
    (("star", "red", "large", "centre", "blue", "striped"), "a large red star on a blue striped background"),
    (("ring", "cyan", "small", "top", "orange", "dotted"),
     "a small cyan ring at the top of an orange dotted background"),
    (("heart", "pink", "medium", "left", "white", "plain"),
     "a medium pink heart on the left of a plain white background")])
def test_captions_read_well(named, caption):
    factors = [names.index(name) for names, name in zip(FACTOR_NAMES.values(), named)]
    assert caption_of(factors) == caption


def test_what_a_prompt_leaves_open_is_minus_one():
    thing, colour, size, position, background, texture = parse_caption("A blue star, on a white background.")
    assert FACTOR_NAMES["object"][thing] == "star" and FACTOR_NAMES["colour"][colour] == "blue"
    assert FACTOR_NAMES["background"][background] == "white" and FACTOR_NAMES["position"][position] == "centre"
    assert size == texture == -1
    assert parse_caption("star").tolist()[1:] == [-1, -1, 0, -1, -1]


@pytest.mark.parametrize("text, hint", [("a large red strar", "'star'"), ("a red", "exactly one object"),
                                        ("a star and a ring", "'and'"), ("a star on a ring", "exactly one object"),
                                        ("", "exactly one object")])
def test_foreign_words_are_named(text, hint):
    with pytest.raises(TinygenError, match=hint):
        parse_caption(text)


def test_random_prompts_are_scenes_of_their_split():
    prompts = random_prompts(40, seed=4)
    assert prompts == random_prompts(50, seed=4)[:40] != random_prompts(40, seed=5)
    assert all(caption_of(parse_caption(prompt)) == prompt for prompt in prompts)
