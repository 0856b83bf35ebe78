"""What counts as motion, and when a scene is idle."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_fmnist.sources.demo import Scene
from edge_fmnist.vision.motion import MotionDetector


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    return Scene(640, 480).draw(3)


def noisy(picture: np.ndarray, seed: int, strength: float = 8) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, strength, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def is_still_after(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether a scene that was still for long stays so with this frame."""
    detector = MotionDetector(settle=2)
    detector.update(before, 0)
    assert detector.update(before, 2)
    return detector.update(after, 2.1)


def test_it_takes_a_while_to_settle(scene: np.ndarray) -> None:
    detector = MotionDetector(settle=2)
    assert [detector.update(scene, now) for now in (0, 1, 1.9, 2, 3)] == [False, False, False, True, True]
    assert detector.idle


def test_noise_is_not_motion(scene: np.ndarray) -> None:
    detector = MotionDetector(settle=1)
    looks = [detector.update(noisy(scene, seed), seed / 4) for seed in range(8)]
    assert looks == [False] * 4 + [True] * 4


@pytest.mark.parametrize("size", [(63, 48), (50, 40), (28, 28), (200, 30)])
def test_noise_in_a_small_frame_is_not_motion(scene: np.ndarray, size: tuple[int, int]) -> None:
    small = scene[: size[1], : size[0]]
    assert is_still_after(noisy(small, 0, 1.5), noisy(small, 1, 1.5))


@pytest.mark.parametrize("size", [(50, 40), (320, 240), (640, 480), (1280, 720)])
def test_a_small_thing_is_motion(size: tuple[int, int]) -> None:
    before = np.full((size[1], size[0], 3), 120, np.uint8)
    after = before.copy()
    # 1 % of the frame, as the smallest garment that is found.
    after[: size[1] // 10, : size[0] // 10] = 160
    assert not is_still_after(before, after)


def test_a_few_pixels_that_flicker_are_not(scene: np.ndarray) -> None:
    after = scene.copy()
    after[100:104, 200:204] = 255
    assert is_still_after(scene, after)


@pytest.mark.parametrize(("levels", "still"), [(10, True), (-10, True), (40, False), (-60, False)])
def test_light_that_changes_a_little_is_not_motion(levels: int, still: bool) -> None:
    before = np.full((480, 640, 3), 120, np.uint8)
    before[100:300, 200:400] = 150
    assert is_still_after(before, (before.astype(int) + levels).astype(np.uint8)) is still


def test_what_creeps_is_noticed(scene: np.ndarray) -> None:
    detector = MotionDetector(settle=1)
    looks = []
    for step in range(100):
        picture = scene.copy()
        # From one frame to the next it is a fifth of a pixel, and would never be seen.
        picture[200:280, step // 5 : step // 5 + 80] -= 30
        looks.append(detector.update(picture, step / 10))
    assert any(looks)
    assert not all(looks[20:])


def test_a_demonstration_moves_all_the_time() -> None:
    moving, detector = Scene(320, 240), MotionDetector()
    assert not any(detector.update(moving.draw(number / 10), number / 10) for number in range(60))


def test_after_forgetting_the_next_frame_is_news(scene: np.ndarray) -> None:
    detector = MotionDetector(settle=1)
    detector.update(scene, 0)
    assert detector.update(scene, 1)
    detector.reset()
    assert not detector.idle
    assert not detector.update(scene, 1.1)


@pytest.mark.parametrize("size", [(320, 240), (1280, 960)])
def test_the_same_scene_in_another_size_is_motion(scene: np.ndarray, size: tuple[int, int]) -> None:
    assert not is_still_after(scene, cv2.resize(scene, size, interpolation=cv2.INTER_AREA))
