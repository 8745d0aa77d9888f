"""Minutes turned into steps: guessed from a few throw-away steps, then corrected by the clock while the training goes on."""

import copy
import time

import torch

from .precision import synchronize

CORRECT_EVERY = 64          # steps, or an eighth of a short run
AT_LEAST = 10               # steps, however short the time


def agreed(steps: float, trainer) -> int:
    """The first process decides."""
    decided = torch.tensor([int(steps)], device=trainer.device)
    if trainer.accelerator.num_processes > 1:
        torch.distributed.broadcast(decided, src=0)
    return int(decided)


def steps_within(trainer, minutes: float) -> int:
    """Time 16 throw-away steps of `trainer`, put everything back, and say how many fit into `minutes`; at least 10.

    These 16 are not part of the minutes.
    """
    saved = copy.deepcopy(trainer.objective.state_dict())
    average = copy.deepcopy(trainer.ema.model.state_dict()) if trainer.ema else None
    trainer.total = 1000                                        # timed near the end: every term of the loss is in force
    times = []
    for count in range(16):
        start = time.perf_counter()
        trainer.train_step(trainer.progress(980 + count))
        synchronize(trainer.device)
        times.append(time.perf_counter() - start)
    rounds = [sum(times[i:i + 4]) for i in (4, 8, 12)]          # the first allocate and compile; R1 comes in every 4th
    each = sorted(rounds)[1] / 4                                # the median forgives hiccups
    trainer.objective.load_state_dict(saved)
    for optimizer in trainer.optimizers.values():
        optimizer.state.clear()
    if trainer.ema:
        trainer.ema.model.load_state_dict(average)
    return agreed(max(AT_LEAST, 60 * minutes / each), trainer)


class Clock:
    """Watches over the budget of `minutes` from now on; without one it leaves the number of steps alone.

    Learning rate and ramps follow the share of the run that is over, hence the clock: such a run cannot be repeated bit by bit.
    """

    def __init__(self, minutes: float | None):
        self.start, self.minutes = time.perf_counter(), minutes

    def steps(self, trainer) -> int:
        """How many steps the run should have after all: those done, and as many as fit at their pace into what is left."""
        step = trainer.step
        if not self.minutes or step % min(CORRECT_EVERY, max(1, trainer.total // 8)):
            return trainer.total
        synchronize(trainer.device)
        share = (time.perf_counter() - self.start) / (60 * self.minutes)                    # of the budget that is used up
        return agreed(max(AT_LEAST, step / min(share, 1.0)), trainer)
