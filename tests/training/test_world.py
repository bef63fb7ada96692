import pytest

from resnext.training.world import World, WorldError, join_world

NODES = {"RANK": "1", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2", "TORCHELASTIC_USE_AGENT_STORE": "True"}


def test_one_process_is_a_world_of_its_own_in_which_nothing_is_exchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join_world() as world:
        assert world == World()
        assert world.is_first
        assert (world.first(lambda: 7), world.first_before_others(lambda: 8), world.gather(9)) == (7, 8, [9])
        assert (world.any(True), world.any(False)) == (True, False)


def test_an_error_in_the_first_process_is_raised_as_it_is() -> None:
    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match=r"^the disk is full$"):
        World().first(fail)


def test_nodes_that_may_be_started_again_must_not_keep_their_store(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**NODES, "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(WorldError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), join_world():
        pytest.fail("the world must not be joined")
