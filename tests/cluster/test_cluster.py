"""Rewritten graphs train on TensorFlow's own cluster: one parameter server and two workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.job import EXACT, MASK
from tests.cluster.running import Cluster

pytestmark = pytest.mark.slow
STEPS = 200
SYNC = {"sync": True, "steps": STEPS}
ALONE = {"alone": True, "steps": 40}
TRAININGS: list[dict[str, Any]] = [
    {"name": "plain", "how": "live", "passes": [], **SYNC},
    {"name": "live", "how": "live", "passes": EXACT, **SYNC},
    {"name": "alone", "how": "live", "passes": [], **ALONE},
    {"name": "decorator", "how": "decorator", "passes": EXACT, **ALONE},
    {"name": "imported", "how": "imported", "passes": EXACT, **ALONE},
    {"name": "masked", "how": "live", "passes": [MASK], **ALONE},
    {"name": "all", "how": "decorator", "passes": [MASK, *EXACT], **ALONE},
    {"name": "all-imported", "how": "imported", "passes": [MASK, *EXACT], **ALONE},
    {"name": "asynchronous", "how": "live", "passes": [MASK, *EXACT], "steps": 60},
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("cluster"), TRAININGS) as found:
        yield found


def first_loss(found: dict[str, Any]) -> float:
    """The loss of the first step this worker came to; the other may have been there before."""
    return found["losses"][min(found["losses"], key=int)]


def assert_alike(plain: dict[str, Any], other: dict[str, Any], allowed: float) -> None:
    for step in set(plain["losses"]) & set(other["losses"]):
        expected, found = plain["losses"][step], other["losses"][step]
        assert abs(found - expected) <= allowed * expected, (step, expected, found)


def losses_of_both(cluster: Cluster, name: str) -> dict[str, Any]:
    """The loss of each step that a worker knows for sure, whichever worker it is."""
    return {"losses": {**cluster.results(name, 1)["losses"], **cluster.results(name)["losses"]}}


def test_200_synchronous_steps_lose_what_plain_ones_do(cluster: Cluster) -> None:
    """Not the last loss of all: how many updates the other worker still makes is its own affair."""
    plain, live = losses_of_both(cluster, "plain"), losses_of_both(cluster, "live")
    common = sorted(map(int, set(plain["losses"]) & set(live["losses"])))
    assert len(common) > STEPS // 2 and common[-1] > STEPS * 0.9
    last = cluster.results("plain")["last"]
    assert last < 0.9 * first_loss(plain), "it does not learn: nothing was shown"
    assert_alike(plain, live, 1e-3)


@pytest.mark.parametrize(
    ("plain", "name"),
    [
        ("plain", "live"),
        ("alone", "decorator"),
        ("alone", "imported"),
        ("masked", "all"),
        ("masked", "all-imported"),
    ],
)
def test_no_more_is_sent_between_machines(plain: str, name: str, cluster: Cluster) -> None:
    before, after = cluster.results(plain), cluster.results(name)
    assert sum(before["traffic"].values()) > 30_000
    assert sum(after["traffic"].values()) <= 1.02 * sum(before["traffic"].values())
    assert after["crossings"] == []


@pytest.mark.parametrize(
    ("plain", "name"),
    [
        ("alone", "decorator"),
        ("alone", "imported"),
        ("masked", "all"),
        ("masked", "all-imported"),
    ],
)
def test_every_way_to_the_graph_trains_alike(plain: str, name: str, cluster: Cluster) -> None:
    assert_alike(cluster.results(plain), cluster.results(name), 1e-3)


@pytest.mark.parametrize("name", ["masked", "all", "all-imported", "asynchronous"])
def test_masks_sit_with_their_kernels_and_are_as_sparse_as_asked(
    name: str, cluster: Cluster
) -> None:
    masks = cluster.results(name)["masks"]
    assert masks
    for device, share in masks.values():
        assert "/job:ps" in device
        assert share == 0.5


def test_what_masks_add_to_the_traffic_is_in_the_report(cluster: Cluster) -> None:
    before, after = cluster.results("alone"), cluster.results("masked")
    said = {item.partition(":0 to ")[0] for item in after["crossings"]}
    sent = {name.partition(" to ")[0].partition(":")[0] for name in after["traffic"]}
    known = {name.partition(" to ")[0].partition(":")[0] for name in before["traffic"]}
    masks = {name for name in sent - known if name.endswith(("/mask/read", "/masked_weight"))}
    assert masks and masks <= said


def test_asynchronous_training_goes_down(cluster: Cluster) -> None:
    found = cluster.results("asynchronous")
    assert found["last"] < first_loss(found)
    assert cluster.results("asynchronous", 1)["losses"]


def test_a_killed_worker_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    training = {
        "name": "killed",
        "how": "live",
        "passes": [MASK, *EXACT],
        "steps": 120,
        "save_every": 20,
        "pause": 0.01,
    }
    undisturbed = {**training, "name": "undisturbed"}
    with Cluster(tmp_path, [undisturbed, training]) as second:
        expected = second.results("undisturbed")
        second.wait_for(lambda: second.progress("killed") >= 50)
        second.kill("worker", 0)
        second.start("worker", 0)
        found = second.results("killed")
    assert min(map(int, found["losses"])) > 0, "it started again from nothing"
    assert abs(found["last"] - expected["last"]) <= 0.01 * expected["last"]
    assert {share for _, share in found["masks"].values()} == {0.5}
