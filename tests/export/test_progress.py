from __future__ import annotations

import io

from rich.console import Console

from edge_fmnist_export.training.phase import EpochRecord
from edge_fmnist_export.training.progress import ProgressListener


def test_photographs_have_a_bar_until_the_first_phase_has_one() -> None:
    stream = io.StringIO()
    listener = ProgressListener(Console(file=stream, force_terminal=True, highlight=False, width=250))
    with listener:
        for done in range(1, 5):
            listener.photo_done(done, 4)
        (task,) = listener._progress.tasks
        assert (task.description, task.completed, task.total) == ("preprocessing photographs", 4, 4)
        listener.phase_started("float", 2, 10, 1)
        (task,) = listener._progress.tasks
        assert (task.description, task.completed, task.total) == ("float epoch 2/2", 10, 20)
        listener.step_done(0.5, 0.75, 3)
        assert listener._progress.tasks[0].completed == 13
        listener.epoch_done(EpochRecord("float", 2, 0.5, 0.75, 0.6, 0.7, 0.1, 3.0, 100.0))
    assert "loss 0.5000 accuracy 75.00%" in stream.getvalue()
    assert "validation accuracy 70.00%, 3.0 s, 100 images/s" in stream.getvalue()


def test_teachers_have_a_bar_until_the_first_phase_has_one() -> None:
    listener = ProgressListener(Console(file=io.StringIO(), width=250))
    with listener:
        listener.view_done(3, 16)
        (task,) = listener._progress.tasks
        assert (task.description, task.completed, task.total) == ("computing the teachers' logits", 3, 16)
