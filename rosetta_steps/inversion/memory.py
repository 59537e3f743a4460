"""Estimate of the memory that an optimisation needs, made before it starts."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from rosetta_steps.runtime.errors import UserError

# Factor on the bytes saved for the backward pass, for gradients and temporary values.
ON_THE_WAY = 1.5


def saved_bytes(run: Callable[[], object], modules: list[nn.Module]) -> int:
    """Return the bytes that a forward pass saves for its backward pass, without parameters.

    Args:
        run: Function that runs the forward pass; on the meta device it costs nothing.
        modules: Modules whose parameters and buffers are not counted.
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
    """Memory that an optimisation needs, in bytes.

    Attributes:
        row: Bytes that a forward pass of one latent saves for its backward pass (saved_bytes).
        image: Bytes of the guidance of one target image, kept while its latents are optimised.
        once: Bytes of guidance that do not depend on the number of images.
        preparing: Bytes for each target image while its guidance is prepared.
        working: Additional temporary bytes for each image while guidance is prepared.
        working_at_most: Maximum of these temporary bytes for any number of images, because images
            are then prepared in turn.
    """

    row: int
    image: int = 0
    once: int = 0
    _: KW_ONLY
    preparing: int = 0
    working: int = 0
    working_at_most: int = 0

    @property
    def of_a_row(self) -> float:
        """Bytes of one latent and its target during the optimisation."""
        return ON_THE_WAY * self.row + self.image

    def rows_at_once(self, memory: float) -> int:
        """Return the number of latents that can be optimised at the same time.

        Args:
            memory: Memory budget in GB.

        Raises:
            ValueError: The budget is too small for one latent.
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
        """Return the number of target images whose guidance may be prepared at the same time.

        The finished guidance of the other images is in memory meanwhile.

        Args:
            images: Number of target images, at most rows_at_once.
            memory: Memory budget in GB.
        """
        left = memory * 1e9 - self.once - images * self.image
        turns = left // max(self.preparing + self.working, 1)
        several = (left - self.working_at_most) // max(self.preparing, 1)
        return int(max(1, min(images, max(turns, several))))
