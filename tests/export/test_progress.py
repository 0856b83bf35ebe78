from __future__ import annotations

import io

from rich.console import Console

from edge_fmnist_export.training.phase import EpochRecord
from edge_fmnist_export.training.progress import ProgressListener


def test_each_phase_has_a_bar_after_that_of_its_preparation() -> None:
    stream = io.StringIO()
    with ProgressListener(Console(file=stream, force_terminal=True, highlight=False, width=250)) as listener:
        listener.photo_done(4, 4)
        listener.view_done(4, 16)
        listener.refresh()
        listener.phase_started("float", 2, 10, 1)
        listener.step_done(0.5, 0.75, 3)
        listener.epoch_done(EpochRecord("float", 2, 0.5, 0.75, 0.6, 0.7, 0.1, 3.0, 100.0))
    shown = stream.getvalue()
    views = shown[shown.rindex("computing the teachers' logits") :]
    assert " 25 %" in views[: views.index("\n")]
    # Thirteen of twenty steps are done.
    last = shown[shown.rindex("float epoch 2/2") :]
    assert " 65 %" in last
    assert "loss 0.5000 accuracy 75.00%" in last
    assert "validation accuracy 70.00%, 3.0 s, 100 images/s" in shown
