"""Where training begins again: in states drawn evenly over how far they got, and shortly before falls."""

import torch

from mwl.rollouts.reset_states import FALL_LEAD, FALLS, LEVELS, ReachedStates, StatesBeforeFalls


def test_reached_states_are_drawn_evenly_over_progress():
    reached_states = ReachedStates(1, torch.Generator().manual_seed(0), fewest=12)
    assert reached_states.draw(4) is None
    progress = torch.tensor([0.1] * 180 + [0.9] * 12 + [0.5] * 11)
    reached_states.add(progress.double().unsqueeze(-1), progress)
    drawn = reached_states.draw(1000).squeeze(-1)
    # half of the draws although a sixteenth of the states: 500 of 1000, standard deviation 16; too few at 0.5
    assert 430 < int((drawn > 0.8).sum()) < 570
    assert not (drawn == 0.5).any()
    drawn = reached_states.draw(1000, evenly=False).squeeze(-1)
    assert 30 < int((drawn > 0.8).sum()) < 95  # 12 of 192 states: 62 of 1000, standard deviation 8
    assert (reached_states.draw(100, lowest=0.8) > 0.8).all()
    reached_states.add(torch.tensor([[7.0]]).double(), torch.tensor([3.0]))  # further than can be: in the highest level
    assert reached_states.filled[LEVELS - 1] == 1


def test_the_newest_states_push_out_old_ones():
    reached_states = ReachedStates(1, torch.Generator().manual_seed(0), slots=4, fewest=1)
    reached_states.add(torch.arange(10).double().unsqueeze(-1), torch.full((10,), 0.5))
    assert set(reached_states.draw(200).flatten().tolist()) == {6.0, 7.0, 8.0, 9.0}


def test_of_a_fall_is_kept_what_was_before_it():
    memory, fell = StatesBeforeFalls(2, 1, torch.Generator().manual_seed(0)), torch.tensor([True, False])
    memory.begin(torch.tensor([True, True]), torch.zeros(2, 1).double())
    for step in range(1, 51):
        memory.follow(torch.full((2, 1), float(step)).double(), fell & False)
    resumed = StatesBeforeFalls(2, 1, torch.Generator().manual_seed(0))
    resumed.load_state_dict(memory.state_dict())
    memory = resumed
    for step in range(51, 101):
        memory.follow(torch.full((2, 1), float(step)).double(), fell & (step == 100))
    assert memory.count == 1
    assert FALL_LEAD <= 100 - memory.states[0].item() <= 2 * FALL_LEAD
    memory.begin(fell, memory.states[:2])
    for step in range(1, FALL_LEAD + 2):  # falls again, and the state it began in is not kept twice
        memory.follow(torch.zeros(2, 1).double(), fell & (step > FALL_LEAD))
    assert memory.count == 1
    assert memory.draw(1) is None
    memory.count = FALLS + 3
    assert memory.draw(5).shape == (5, 1)
