"""Adam (Kingma and Ba 2015), the same bits as torch.optim.Adam without torch's compiler.

The optimisers of torch import the compiler when they are made, which takes more than a second of
the start of an inversion.
"""

import torch
from torch import Tensor

DECAY, DECAY_OF_SQUARES = 0.9, 0.999  # beta 1 and beta 2
EPSILON = 1e-8


class Adam:
    """Optimiser of one tensor.

    Args:
        values: What is optimised, of any shape; it is changed in place.
    """

    def __init__(self, values: Tensor):
        self.values, self.steps = values, 0
        self._mean = torch.zeros_like(values, requires_grad=False)
        self._square = torch.zeros_like(values, requires_grad=False)

    @torch.no_grad()
    def step(self, gradient: Tensor, rate: float) -> None:
        """Change the values by one step.

        Args:
            gradient: Of the loss by the values, of their shape.
            rate: Learning rate of this step.
        """
        self.steps += 1
        self._mean.lerp_(gradient, 1 - DECAY)
        self._square.mul_(DECAY_OF_SQUARES).addcmul_(gradient, gradient, value=1 - DECAY_OF_SQUARES)
        size = rate / (1 - DECAY**self.steps)
        scale = (1 - DECAY_OF_SQUARES**self.steps) ** 0.5
        self.values.addcdiv_(self._mean, (self._square.sqrt() / scale).add_(EPSILON), value=-size)
