"""How much memory an optimisation needs, known before it starts."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

# Besides what the backward pass needs: gradients on their way and temporary values.
ON_THE_WAY = 1.5


def saved_bytes(run: Callable[[], Tensor], modules: list[nn.Module]) -> int:
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


def rows_at_once(bytes_a_row: int, memory: float) -> int:
    """Latents that can be optimised at once within a budget.

    Args:
        bytes_a_row: As saved_bytes gives them for one.
        memory: Budget in GB.

    Raises:
        ValueError: Not even one fits.
    """
    needed = ON_THE_WAY * bytes_a_row
    if needed > memory * 1e9:
        raise ValueError(
            f"one image needs {needed / 1e9:.2g} GB, the budget is {memory:g} GB: raise memory_gb "
            "(--memory-gb by hand) above that, or lower perceptual_size."
        )
    return int(memory * 1e9 // max(needed, 1))
