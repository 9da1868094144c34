"""What comes out of the replay buffer: slices within one episode, before and after a resume."""

import pytest
import torch
from tensordict import TensorDict

from mwl.core import keys
from mwl.core.errors import BadInput
from mwl.world_model.learning.replay import Replay
from mwl.world_model.observation import Observer

N, H, B = 4, 3, 32


def frames(episode: torch.Tensor, step: torch.Tensor, ends: torch.Tensor) -> TensorDict:
    """One step of N environments whose observation tells episode and step."""
    count = len(episode)
    seen = torch.stack([episode, step], -1).float().unsqueeze(1)
    after = {
        keys.OBSERVATION: seen + torch.tensor([0.0, 1.0]),
        keys.REWARD: step.float().view(count, 1, 1),
        keys.TERMINATED: ends.view(count, 1, 1),
    }
    here = {keys.OBSERVATION: seen, keys.ACTION: torch.zeros(count, 1, 2), keys.EPISODE: episode.unsqueeze(1).clone()}
    return TensorDict({**here, keys.NEXT: TensorDict(after, [count, 1])}, [count, 1])


def filled(steps: int, capacity: int) -> Replay:
    replay, generator = Replay(capacity, N, H, B), torch.Generator().manual_seed(0)
    episode, step = torch.arange(N), torch.zeros(N, dtype=torch.int64)
    begun = N
    for _ in range(steps):
        ends = torch.rand(N, generator=generator) < 0.1
        replay.extend(frames(episode, step, ends))
        step = torch.where(ends, 0, step + 1)
        episode = torch.where(ends, begun + torch.arange(N), episode)
        begun += N
    return replay


def assert_whole(replay: Replay) -> None:
    for _ in range(50):
        rows = replay.sample()
        episode, step = rows[keys.OBSERVATION].unbind(-1)
        assert rows.batch_size == (H, B)
        assert (episode == episode[0]).all()
        assert (step == step[0] + torch.arange(H).unsqueeze(-1)).all()
        assert not rows[keys.NEXT, keys.TERMINATED][:-1].any()


def test_slices_never_cross_episodes() -> None:
    assert_whole(filled(steps=100, capacity=4000))


def test_slices_never_cross_the_write_cursor_of_a_full_buffer() -> None:
    replay = filled(steps=237, capacity=400)
    assert len(replay) == 400
    assert_whole(replay)


def test_restored_buffer_samples_the_same() -> None:
    replay, copy = filled(steps=60, capacity=400), Replay(400, N, H, B)
    copy.load_state_dict(replay.state_dict())
    samples = []
    for buffer in (replay, copy):
        torch.manual_seed(3)
        samples.append(buffer.sample()[keys.OBSERVATION])
    assert torch.equal(*samples)
    assert_whole(copy)


@pytest.mark.parametrize("steps", [60, 100, 237])  # of each of 4 environments; 400 transitions are 100 steps
@pytest.mark.parametrize("capacity", [200, 400, 800])
def test_a_buffer_of_another_capacity_holds_the_newest_and_nothing_else(steps: int, capacity: int) -> None:
    replay, copy = filled(steps, capacity=400), Replay(capacity, N, H, B)
    copy.load_state_dict(replay.state_dict())
    kept = min(steps, 100, capacity // N)
    assert len(copy) == kept * N
    cursor = int(copy.buffer._writer.state_dict()["_cursor"])
    rows = copy.buffer[:kept]
    rows = rows[(torch.arange(kept) + (cursor if cursor < kept else 0)) % kept]  # oldest first
    everything = filled(steps, capacity=4000).buffer[:steps]
    assert torch.equal(rows[keys.EPISODE], everything[keys.EPISODE][-kept:])
    assert torch.equal(rows[keys.NEXT, keys.REWARD], everything[keys.NEXT, keys.REWARD][-kept:])
    assert_whole(copy)


def test_a_slice_can_be_drawn_once_an_episode_is_long_enough() -> None:
    replay, never = Replay(400, N, H, B), torch.zeros(N, dtype=torch.bool)
    for step in range(H):
        assert not replay.ready()
        replay.extend(frames(torch.arange(N), torch.full((N,), step), never))
    assert replay.ready()
    replay.sample()


def test_none_can_be_drawn_of_episodes_that_end_too_soon() -> None:
    replay, always = Replay(40, N, H, B), torch.ones(N, dtype=torch.bool)
    for episode in range(30):
        replay.extend(frames(episode * N + torch.arange(N), torch.zeros(N, dtype=torch.int64), always))
        assert not replay.ready()


def test_demonstrations_shorter_than_a_slice_are_refused() -> None:
    with pytest.raises(BadInput, match="longer than 2 steps"):
        Replay(400, N, H, B).add_demonstrations(filled(2, capacity=400).buffer[:2].flatten())


def test_state_loads_with_weights_only(tmp_path) -> None:
    torch.save(filled(steps=5, capacity=400).state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert len(next(iter(state["rows"].values()))) == 5


def test_batch_holds_one_observation_more_than_actions() -> None:
    torch.manual_seed(0)
    batch = filled(steps=60, capacity=400).sample_batch(Observer(None))
    assert batch.features.shape == (H + 1, B, 2)
    assert torch.equal(batch.features[1:, :, 1], batch.reward + 1)  # the observation that followed each reward
    assert batch.reference is None


def test_relabelled_rows_are_those_held_and_no_others() -> None:
    replay = Replay(capacity=40, num_envs=2, horizon=2, batch_size=4)
    frames = TensorDict(
        {
            keys.OBSERVATION: torch.arange(6.0).view(2, 3, 1),
            keys.ACTION: torch.zeros(2, 3, 1),
            keys.EPISODE: torch.zeros(2, 3, dtype=torch.int64),
            keys.STEP_COUNT: torch.tensor([[[0], [1], [2]], [[7], [8], [9]]]),
            keys.EXPERT_ACTION: torch.zeros(2, 3, 2, 1),
            keys.REFERENCE_ACTION: torch.zeros(2, 3, 1),
            keys.NEXT: {
                keys.OBSERVATION: torch.arange(6.0).view(2, 3, 1) + 1,
                keys.REFERENCE_ACTION: torch.zeros(2, 3, 1),
            },
        },
        batch_size=[2, 3],
    )
    replay.extend(frames)

    def advise(observation: torch.Tensor, memory: torch.Tensor | None, age: torch.Tensor) -> TensorDict:
        assert memory is None
        both = torch.stack([observation, -observation], dim=1)
        reference = 10 * observation + 100 * age.unsqueeze(-1)
        return TensorDict({keys.EXPERT_ACTION: both, keys.REFERENCE_ACTION: reference}, batch_size=[len(observation)])

    replay.relabel(advise)
    assert len(replay) == 6
    rows = replay.buffer[:3]
    assert torch.equal(rows[keys.REFERENCE_ACTION], 10 * rows[keys.OBSERVATION] + 100 * rows[keys.STEP_COUNT])
    assert torch.equal(rows[keys.EXPERT_ACTION][..., 1, :], -rows[keys.OBSERVATION])
    after = rows[keys.NEXT]
    expected = 10 * after[keys.OBSERVATION] + 100 * (rows[keys.STEP_COUNT] + 1)  # the step after is one step older
    assert torch.equal(after[keys.REFERENCE_ACTION], expected)


def test_a_single_environment_is_enough() -> None:
    replay = Replay(capacity=20, num_envs=1, horizon=2, batch_size=4)
    for step in range(4):
        one = frames(torch.zeros(1), torch.full((1,), float(step)), torch.zeros(1, dtype=torch.bool))
        replay.extend(one)
    seen = replay.sample()[keys.OBSERVATION][..., 1]
    assert torch.equal(seen[1], seen[0] + 1)
