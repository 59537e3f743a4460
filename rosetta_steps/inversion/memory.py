"""How much memory an optimisation needs, known before it starts."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from rosetta_steps.runtime.errors import UserError

# Besides what the backward pass needs: gradients on their way and temporary values.
ON_THE_WAY = 1.5


def saved_bytes(run: Callable[[], object], modules: list[nn.Module]) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters left out.

    Args:
        run: The forward pass; on the meta device it costs nothing.
        modules: Whose parameters and buffers are not counted.
    """
    known = {
        tensor.untyped_storage()._cdata
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    kept: dict[int, tuple[Tensor, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            kept[storage._cdata] = (tensor, storage.nbytes())
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(size for _, size in kept.values())


@dataclass(frozen=True)
class Needs:
    """Bytes that an optimisation needs.

    Attributes:
        row: Kept by a forward pass of one latent for its backward pass, as saved_bytes gives them.
        image: Guidance of one target image, kept while its latents are optimised.
        once: Guidance that is kept however many images there are.
        preparing: Of one target image, while its guidance is prepared.
        working: Besides, of one image; of several no more than
        working_at_most: because they take turns.
    """

    row: int
    image: int = 0
    once: int = 0
    preparing: int = 0
    working: int = 0
    working_at_most: int = 0

    @property
    def of_a_row(self) -> float:
        """Bytes of a latent with its target, while it is optimised."""
        return ON_THE_WAY * self.row + self.image

    def rows_at_once(self, memory: float) -> int:
        """Latents that can be optimised at once within a budget in GB.

        Raises:
            ValueError: Not even one fits.
        """
        left, preparing = memory * 1e9 - self.once, self.preparing + self.working
        guided = self.once + self.image + preparing
        least = self.once + max(self.of_a_row, self.image + preparing)
        if least > memory * 1e9:
            advice = "lower perceptual_size"
            if guided > least / 2:
                advice = "guide by fewer pairs (neighbours, min_correlation)"
            raise UserError(
                f"one image needs {least / 1e9:.2g} GB ({guided / 1e9:.2g} GB of guidance), the "
                f"budget is {memory:g} GB: raise memory_gb (--memory-gb by hand) above that, or "
                f"{advice}."
            )
        rows = left // max(self.of_a_row, 1)
        prepared = (left - preparing) // max(self.image, 1)
        return int(max(1, min(rows, prepared)))

    def prepared_at_once(self, images: int, memory: float) -> int:
        """Of so many target images, how many may be prepared at once; the others' stay meanwhile.

        Args:
            images: No more than rows_at_once.
            memory: Budget in GB.
        """
        left = memory * 1e9 - self.once - images * self.image
        turns = left // max(self.preparing + self.working, 1)
        several = (left - self.working_at_most) // max(self.preparing, 1)
        return int(max(1, min(images, max(turns, several))))
