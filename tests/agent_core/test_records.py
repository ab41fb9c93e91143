"""What the journal keeps."""

import pytest

from agent_core.records import State


@pytest.mark.parametrize("state", State)
def test_a_state_is_over_or_it_is_not(state: State) -> None:
    assert state.ended == (state in {State.COMPLETED, State.FAILED, State.CANCELLED, State.INTERRUPTED})
