"""Libraries of models are imported without torch's compiler, and with it where they need it."""

import subprocess
import sys

HAS_COMPILER = "'torch._dynamo' in sys.modules"


def run(code, folder):
    """What a new Python prints, whose modules may lie in a folder too."""
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_model_of_timm_is_built_and_run_without_the_compiler(tmp_path):
    code = (
        "import torch\n"
        "from rosetta_steps.zoo.models.timm_models import timm\n"
        "model = timm.create_model('mobilenetv3_small_050').eval()\n"
        "shape = tuple(model(torch.zeros(1, 3, 32, 32)).shape)\n"
        f"print(shape[1], {HAS_COMPILER})\n"
        "import torch._dynamo\n"
        "print(torch._dynamo.__file__ is not None, callable(torch._dynamo.optimize))"
    )
    assert run(code, tmp_path) == ["1000", "False", "True", "True"]


def test_a_model_without_values_draws_none_and_is_described_without_the_compiler(tmp_path):
    code = (
        "from rosetta_steps.zoo.entry import Entry, Weights\n"
        "from rosetta_steps.zoo.models.timm_models import load\n"
        "entry = Entry('model', 'timm', 'tf_efficientnet_lite0', weights=Weights(path='w.pt'))\n"
        "model = load('one', entry, None, 'cpu')\n"
        "print(all(p.is_meta for p in model.module.parameters()), len(model.layers(['bn2.act'])))\n"
        f"print({HAS_COMPILER})"
    )
    assert run(code, tmp_path) == ["True", "1", "False"]


def test_a_library_that_wants_more_of_the_compiler_gets_it(tmp_path):
    (tmp_path / "wants_more.py").write_text(
        "from torch._dynamo import optimize\nfrom torch._dynamo.utils import counters\n"
    )
    code = (
        "from rosetta_steps.zoo.quick_imports import imported\n"
        f"print(callable(imported('wants_more').optimize), {HAS_COMPILER})"
    )
    assert run(code, tmp_path) == ["True", "True"]


def test_a_pass_without_values_that_wants_more_of_the_compiler_gets_it(tmp_path):
    code = (
        "import torch\n"
        "from torch import nn\n"
        "from torch.utils.checkpoint import checkpoint\n"
        "from rosetta_steps.zoo.hooks import layers_of\n"
        "with torch.device('meta'):\n"
        "    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())\n"
        "    images = torch.zeros(1, 3, 8, 8)\n"
        "run = lambda: checkpoint(module, images, use_reentrant=False)\n"
        "print([layer.name for layer in layers_of(module, run)])"
    )
    assert run(code, tmp_path) == ["['1']"]
