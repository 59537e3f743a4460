"""Loaders of discriminative models: their maps against the networks' own intermediate values."""

import json
from dataclasses import replace

import numpy as np
import onnx
import open_clip
import pytest
import timm
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from timm.models.metaformer import MetaFormer, StarReLU
from timm.models.mlp_mixer import MlpMixer
from torch import nn
from torch.nn.functional import gelu

from rosetta_steps.zoo.entries import find_entry
from rosetta_steps.zoo.entry import Entry, Weights
from rosetta_steps.zoo.models import functions, onnx_models, open_clip_models, timm_models
from rosetta_steps.zoo.models.preprocessing import Preprocessing
from rosetta_steps.zoo.models.torch_models import Model

PLAIN = {"interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(module, size):
    preprocessing = Preprocessing(size, "bilinear", (0, 0, 0), (1, 1, 1))
    tokens = timm_models.tokens_of(module, size)
    return Model("net", module, preprocessing, "cpu", tokens=tokens)


def tiny(name, **arguments):
    """A small network of timm with random weights, none of which silences a branch."""
    torch.manual_seed(0)
    module = timm.create_model(name, **arguments).eval()
    for key, value in module.named_parameters():
        if value.ndim <= 1 and ("gamma" in key or not value.any()):
            nn.init.normal_(value, 0.2, 0.02)
    return module


def images(*size, seed=1):
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


# Convolutional networks, vision transformers and hierarchical ones of timm


def test_a_vision_transformer_gives_its_hidden_units_on_the_patch_grid_without_registers():
    module = tiny("vit_tiny_patch16_224", img_size=(32, 48), depth=2, reg_tokens=4)
    model = model_of(module, (32, 48))
    first, second = model.layers(["blocks.*.mlp.act"])
    assert (first.channels, first.size, second.nonlinearity) == (768, (2, 3), "GELU")
    x = images(32, 48)
    found = model.activations(x, ["blocks.1.mlp.act"])["blocks.1.mlp.act"]
    with torch.inference_mode():
        block = module.blocks[1]
        tokens = module.blocks[0](module._pos_embed(module.patch_embed(x)))
        tokens = tokens + block.attn(block.norm1(tokens))
        hidden = gelu(block.mlp.fc1(block.norm2(tokens)))
    assert hidden.shape == (2, 1 + 4 + 6, 768)
    for y, x in [(0, 0), (0, 2), (1, 0), (1, 2)]:
        torch.testing.assert_close(found[:, :, y, x], hidden[:, 5 + 3 * y + x])


def test_a_swin_transformer_gives_its_hidden_units_at_their_positions_in_each_stage():
    arguments = {"window_size": 4, "embed_dim": 24, "depths": (1, 1, 1, 1), "img_size": 64}
    module = tiny("swin_tiny_patch4_window7_224", num_heads=(1, 2, 3, 4), **arguments)
    model = model_of(module, (64, 64))
    assert [layer.size for layer in model.layers()] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    x = images(64, 64)
    found = model.activations(x, ["layers.1.blocks.0.mlp.act"])["layers.1.blocks.0.mlp.act"]
    with torch.inference_mode():
        stage, block = module.layers[1], module.layers[1].blocks[0]
        values = stage.downsample(module.layers[0](module.patch_embed(x)))
        values = values + block._attn(block.norm1(values))
        hidden = gelu(block.mlp.fc1(block.norm2(values)))
    torch.testing.assert_close(found, hidden.permute(0, 3, 1, 2))


def test_a_convnext_gives_its_hidden_units_which_have_their_channels_last():
    # 64 hidden units at 64 x 64 positions: the lengths of its axes do not tell the channels.
    module = tiny("convnext_atto", depths=(1, 1, 1, 1), dims=(16, 32, 64, 128), conv_mlp=False)
    model = model_of(module, (256, 256))
    name = "stages.0.blocks.0.mlp.act"
    (layer,) = model.layers([name])
    assert (layer.channels, layer.size) == (64, (64, 64))
    x = images(256, 256)[:1]
    found = model.activations(x, [name])[name]
    with torch.inference_mode():
        block = module.stages[0].blocks[0]
        values = block.norm(block.conv_dw(module.stem(x)).permute(0, 2, 3, 1))
        hidden = gelu(block.mlp.fc1(values))
    assert hidden.shape == (1, 64, 64, 64)
    torch.testing.assert_close(found, hidden.permute(0, 3, 1, 2))


def test_a_resnet_gives_its_blocks_after_the_sum_with_in_place_relus():
    module = tiny("test_resnet")
    model = model_of(module, (64, 96))
    x = images(64, 96)
    found = model.activations(x, ["act1", "layer1.0.act2", "layer1.0.bn1"])
    with torch.inference_mode():
        first = module.bn1(module.conv1(x)).relu()
        values, block = module.maxpool(first), module.layer1[0]
        inside = block.bn1(block.conv1(values))
        sums = block.bn2(block.conv2(inside.relu())) + values
    torch.testing.assert_close(found["act1"], first)
    torch.testing.assert_close(found["layer1.0.bn1"], inside)
    torch.testing.assert_close(found["layer1.0.act2"], sums.relu())


def marked(model, layers, size, y, x):
    """How much the maps change at each position when the image is marked at (y, x) in [0, 1]."""
    plain = images(*size)[:1]
    mark = plain.clone()
    top, left = int(y * size[0]) - 8, int(x * size[1]) - 8
    mark[:, :, top : top + 16, left : left + 16] += torch.rand(3, 16, 16) + 0.5
    before, after = (model.activations(one, layers) for one in (plain, mark))
    return {name: (after[name] - before[name]).square().mean(1)[0] for name in layers}


FOUR_STAGES = {"depths": (1, 1, 1, 1), "embed_dims": (16, 32, 48, 64), "num_heads": (1, 2, 3, 4)}


@pytest.mark.parametrize(
    ("name", "arguments", "size"),
    [
        ("coat_lite_tiny", {"img_size": 64}, (64, 64)),
        ("davit_tiny", FOUR_STAGES, (96, 128)),
        ("pvt_v2_b0", {}, (96, 128)),
        ("pit_ti_distilled_224", {"img_size": 96, "depth": (1, 1, 1)}, (96, 96)),
        ("swinv2_cr_tiny_224", {"img_size": 64, "window_size": 2, "embed_dim": 24}, (64, 64)),
        ("tnt_s_patch16_224", {"img_size": 64, "depth": 2}, (64, 64)),
        ("twins_svt_small", {"img_size": 64, **FOUR_STAGES}, (64, 64)),
        ("xcit_nano_12_p8_224", {"img_size": 64, "depth": 2}, (64, 64)),
        ("cait_xxs24_224", {"img_size": 64, "depth": 2}, (64, 64)),
        ("deit_tiny_distilled_patch16_224", {"img_size": (64, 96), "depth": 2}, (64, 96)),
        ("gmlp_ti16_224", {"img_size": 64}, (64, 64)),
        ("vit_small_patch16_dinov3", {"img_size": 64, "depth": 2}, (64, 64)),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "dynamic_img_size": True}, (96, 80)),
        ("test_maxvit", {}, (160, 160)),
        ("test_efficientnet", {}, (96, 128)),
    ],
)
def test_a_map_changes_where_the_image_is_marked(name, arguments, size):
    model = model_of(tiny(name, **arguments), size)
    layers = [layer.name for layer in model.layers()]
    assert layers
    for y, x in ((0.2, 0.7), (0.8, 0.4)):
        for layer, change in marked(model, layers, size, y, x).items():
            row, column = divmod(int(change.argmax()), change.shape[1])
            rows, columns = change.shape
            # In the mark, or one position beside it.
            assert abs((row + 0.5) / rows - y) < 8 / size[0] + 1 / rows, layer
            assert abs((column + 0.5) / columns - x) < 8 / size[1] + 1 / columns, layer


@pytest.mark.parametrize("kind", ["StarReLU", "GELU"])
def test_all_stages_of_a_metaformer_are_maps_one_for_each_nonlinearity(kind):
    mlp_act = {"StarReLU": StarReLU, "GELU": nn.GELU}[kind]
    module = MetaFormer(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64), mlp_act=mlp_act).eval()
    layers = model_of(module, (96, 128)).layers(["stages.*"])
    assert [layer.size for layer in layers] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    assert {layer.nonlinearity for layer in layers} == {kind}


def test_a_mixer_of_tokens_and_a_class_attention_are_left_out():
    mixer = model_of(MlpMixer(img_size=128, patch_size=32, num_blocks=1), (128, 128))
    assert [layer.name for layer in mixer.layers()] == ["blocks.0.mlp_channels.act"]
    cait = model_of(tiny("cait_xxs24_224", img_size=64, depth=1), (64, 64))
    assert [layer.name for layer in cait.layers()] == ["blocks.0.mlp.act"]
    with pytest.raises(ValueError, match="net: .*only.0.mlp.act has 1 tokens; expected 4 x 4"):
        cait.layers(["blocks_token_only.*"])


def test_tokens_in_an_order_of_their_own_are_refused_not_folded():
    with torch.device("meta"):
        module = timm.create_model("hiera_tiny_224").eval()
    model = Model(
        "net",
        module,
        Preprocessing((224, 224), "bilinear", (0, 0, 0), (1, 1, 1)),
        "meta",
        tokens=timm_models.tokens_of(module, (224, 224)),
    )
    with pytest.raises(ValueError, match="has 3136 tokens; nothing says on which grid they lie"):
        model.layers(["*"])


def test_an_image_size_that_the_architecture_cannot_take_is_refused_with_the_line_to_write():
    vit = "vit_tiny_patch16_224"
    entry = Entry.from_mapping({"architecture": vit, "preprocessing": {"size": [112, 160]}})
    words = r"^net: preprocessing.size is \[112, 160\], .* built for images of \[224, 224\]\. "
    words += r"Write arguments: {img_size: \[112, 160\]} into .*, or dynamic_img_size: true"
    with pytest.raises(ValueError, match=words):
        timm_models.load("net", entry, None, "cpu")
    for arguments in ({"img_size": [112, 160]}, {"dynamic_img_size": True}):
        sized = replace(entry, architecture={"name": vit, "arguments": arguments})
        assert timm_models.load("net", sized, None, "cpu").layers()
    odd = replace(entry, preprocessing={"size": [112, 168]})
    with pytest.raises(ValueError, match=r"whose patches of 16 x 16 do not divide \[112, 168\]"):
        timm_models.load("net", odd, None, "cpu")


# Entries of timm


def settings(mapping):
    return timm_models.load("net", Entry.from_mapping(mapping), None, "cpu").preprocessing


@pytest.mark.parametrize(
    "entry",
    [
        {"architecture": "vit_base_patch16_224.dino", "weights": {"url": "https://x"}},
        {"architecture": "vit_base_patch16_224", "weights": {"timm": "dino"}},
        {
            "architecture": {"name": "vit_base_patch16_224", "arguments": {"depth": 1}},
            "weights": {"timm": "dino"},
        },
    ],
)
def test_preprocessing_is_that_of_the_tag_wherever_the_entry_names_it(entry):
    assert settings(entry).mean == (0.485, 0.456, 0.406)
    assert settings({"architecture": "vit_base_patch16_224"}).mean == (0.5, 0.5, 0.5)


def test_arguments_reach_timm_and_the_size_of_images_follows_them():
    architecture = {
        "name": "vit_tiny_patch16_224",
        "arguments": {"img_size": [32, 48], "num_classes": 0, "depth": 1},
    }
    entry = Entry.from_mapping({"architecture": architecture})
    model = timm_models.load("net", entry, None, "cpu")
    assert model.preprocessing.size == (32, 48)
    assert [layer.size for layer in model.layers()] == [(2, 3)]
    entry = replace(entry, architecture=architecture | {"arguments": {"deepness": 1}})
    with pytest.raises(ValueError, match="net: timm cannot build vit_tiny.*deepness"):
        timm_models.load("net", entry, None, "cpu")


def with_arguments(**arguments) -> dict:
    return {"architecture": {"name": "resnet18", "arguments": arguments}}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"architecture": "resnet51"}, "no architecture 'resnet51'. Did you mean 'resnet51q'"),
        ({"architecture": "resnet50.tv_in2k"}, "no weights 'tv_in2k' of resnet50. Did you mean"),
        (
            {"architecture": "resnet50.tv_in1k", "weights": {"timm": "a1_in1k"}},
            "says tag 'tv_in1k', weights.timm 'a1_in1k'",
        ),
        (
            {"architecture": "hf-hub:timm/resnet18.a1_in1k"},
            r"address of a hub. Write .* \(architecture: resnet18.a1_in1k\)",
        ),
        ({"architecture": "timm/resnet18.a1_in1k"}, "address of a hub.*: resnet18.a1_in1k"),
        (with_arguments(checkpoint_path="x.pth"), r"'checkpoint_path'.*: write weights: {path: FI"),
        (with_arguments(pretrained=True), "'pretrained'.*: write weights: {timm: TAG}"),
        (with_arguments(pretrained_cfg={}), "'pretrained_cfg'.*what differs in `preprocessing`"),
        (with_arguments(in_chans=1), "in_chans: 1, and images have three channels here"),
    ],
)
def test_what_timm_does_not_have_is_refused(entry, words):
    with pytest.raises(ValueError, match=words):
        timm_models.load("net", Entry.from_mapping(entry), None, "cpu")


@pytest.mark.parametrize(
    ("loader", "architecture", "words"),
    [
        (timm_models, {"name": "resnet18", "argument": {}}, "'argument'. Did you mean 'arguments'"),
        (open_clip_models, {"name": "RN50", "tags": "openai"}, "'tags'. Did you mean 'tag'"),
        (functions, {"function": "m:f", "prefix_token": 1}, "Did you mean 'prefix_tokens'"),
        (timm_models, {"arguments": {}}, "without 'name', which the loader 'it' needs"),
        (functions, "m:f", "unknown key 'name'"),
    ],
)
def test_an_architecture_with_a_key_that_its_loader_does_not_know_is_refused(
    loader, architecture, words
):
    preprocessing = PLAIN | {"size": [8, 8]}
    entry = {"loader": "it", "architecture": architecture, "preprocessing": preprocessing}
    with pytest.raises(ValueError, match=words):
        loader.load("net", Entry.from_mapping(entry), None, "cpu")


def test_weights_of_timm_are_loaded_with_names_unchanged(tmp_path):
    module = tiny("test_vit")
    save_file(module.state_dict(), tmp_path / "net.safetensors")
    entry = Entry("model", "timm", "test_vit", Weights(path="net.safetensors"))
    model = timm_models.load("net", entry, tmp_path / "net.safetensors", "cpu")
    x = images(160, 160)
    with torch.inference_mode():
        torch.testing.assert_close(model.scores(x), module(model.preprocessing(x)))


# The paper's models: the units that its code keeps (facts 6.4), found without weights


@pytest.mark.parametrize(
    ("name", "units", "sizes"),
    [
        ("resnet50", 3840, {56, 28, 14, 7}),
        ("dino-resnet50", 3840, {56, 28, 14, 7}),
        ("dino-vitb16", 36864, {14}),
        ("dino-vitb8", 36864, {28}),
        ("mae-vitb16", 36864, {14}),
        ("clip-rn50", 3840, {56, 28, 14, 7}),
    ],
)
def test_the_models_of_the_paper_offer_the_published_units(name, units, sizes):
    entry = find_entry(name)
    loader = open_clip_models if entry.loader == "open_clip" else timm_models
    model = loader.load(name, entry, None, "cpu")
    layers = model.layers(entry.layers["published"])
    assert sum(layer.channels for layer in layers) == units
    assert {layer.size[0] for layer in layers} == sizes
    expected = "bilinear" if name == "resnet50" else "bicubic"
    assert model.preprocessing.interpolation == expected


# open_clip

TEXT = {"context_length": 4, "vocab_size": 7, "width": 8, "heads": 1, "layers": 1}
CLIPS = {
    "tiny-vit": {"image_size": 32, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2},
    "tiny-rn": {"image_size": 64, "width": 8, "head_width": 8, "layers": [1, 1, 1, 1]},
}


@pytest.fixture
def clips(tmp_path, monkeypatch):
    """Tiny architectures of open_clip; their folder."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIG_PATHS", [])
    for name, vision in CLIPS.items():
        config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": TEXT}
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path)
    return tmp_path


def clip_entry(name, **more):
    given = {"architecture": name, "weights": {"path": "x"}, "preprocessing": PLAIN}
    return Entry.from_mapping(given | more)


def saved_clip(folder, name, **more):
    torch.manual_seed(0)
    whole = open_clip.create_model(name).eval()
    for value in whole.parameters():
        nn.init.normal_(value, 0.05, 0.2)
    path = folder / "clip.safetensors"
    tensors = {key: value.clone().half() for key, value in whole.state_dict().items()}
    save_file(tensors | more, path)
    whole.load_state_dict(tensors)
    return whole, path


def test_the_image_tower_of_a_clip_vit_is_loaded_from_a_file_of_both_towers(clips):
    whole, path = saved_clip(clips, "tiny-vit")
    model = open_clip_models.load("net", clip_entry("tiny-vit"), path, "cpu")
    assert all(key.startswith("visual.") for key in model.module.state_dict())
    names = [layer.name for layer in model.layers()]
    assert names == [f"visual.transformer.resblocks.{i}.mlp.gelu" for i in (0, 1)]
    x = images(32, 32)
    found = model.activations(x, names)[names[0]]
    with torch.inference_mode():
        torch.testing.assert_close(model.scores(x), whole.encode_image(x))
        block = whole.visual.transformer.resblocks[0]
        tokens = embedded(whole.visual, x)
        tokens = tokens + block.attention(block.ln_1(tokens))
        hidden = gelu(block.mlp.c_fc(block.ln_2(tokens)))
    torch.testing.assert_close(found[:, :, 2, 1], hidden[:, 1 + 4 * 2 + 1])


def embedded(visual, x):
    """Tokens of CLIP's transformer: class embedding, patches row by row, position, norm."""
    patches = visual.conv1(x).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(x), 1, -1)
    return visual.ln_pre(torch.cat([first, patches], 1) + visual.positional_embedding)


def test_the_stages_of_a_clip_resnet_are_those_of_open_clip(clips):
    whole, path = saved_clip(clips, "tiny-rn")
    model = open_clip_models.load("net", clip_entry("tiny-rn"), path, "cpu")
    x = images(64, 64)
    found = model.activations(x, ["visual.layer1.0.act3", "visual.layer2"])
    with torch.inference_mode():
        first = whole.visual.layer1(whole.visual.stem(x))
        torch.testing.assert_close(found["visual.layer1.0.act3"], first)
        torch.testing.assert_close(found["visual.layer2"], whole.visual.layer2(first))


def test_the_tag_of_the_weights_says_whether_a_clip_has_quick_gelu():
    openai = open_clip.get_pretrained_cfg("ViT-B-32", "openai")["url"]

    def kind(architecture, weights):
        entry = Entry.from_mapping({"architecture": architecture, "weights": weights})
        (layer,) = open_clip_models.load("net", entry, None, "cpu").layers(["*.0.mlp.gelu"])
        return layer.nonlinearity

    assert kind("ViT-B-32", {"open_clip": "openai"}) == "QuickGELU"
    assert kind("ViT-B-32", {"url": openai}) == "QuickGELU"
    assert kind("ViT-B-32-quickgelu", {"path": "x"}) == "QuickGELU"
    assert kind("ViT-B-32", {"open_clip": "laion2b_s34b_b79k"}) == "GELU"
    assert kind({"name": "ViT-B-32", "tag": "openai"}, {"path": "x"}) == "QuickGELU"
    with pytest.raises(ValueError, match="nothing says of which kind.*tag: TAG.*openai, laion400m"):
        kind("ViT-B-32", {"path": "x"})
    with pytest.raises(ValueError, match="no weights 'laion' of ViT-B-32"):
        kind("ViT-B-32", {"open_clip": "laion"})
    with pytest.raises(ValueError, match="no architecture 'ViT-B-33'. Did you mean 'ViT-B-32'"):
        kind("ViT-B-33", {"open_clip": "openai"})


def test_a_file_of_openai_is_not_loaded_into_a_transformer_with_gelu(clips):
    sizes = ("input_resolution", "context_length", "vocab_size")
    _, path = saved_clip(clips, "tiny-vit", **{size: torch.tensor(1) for size in sizes})
    with pytest.raises(ValueError, match="OpenAI's files, which were trained with QuickGELU"):
        open_clip_models.load("net", clip_entry("tiny-vit"), path, "cpu")


def test_normalisation_is_that_of_the_tag_or_what_all_tags_agree_on():
    def mean(architecture, weights):
        entry = Entry.from_mapping({"architecture": architecture, "weights": weights})
        return open_clip_models.load("net", entry, None, "cpu").preprocessing.mean

    assert mean("ViT-B-16-SigLIP", {"open_clip": "webli"}) == (0.5, 0.5, 0.5)
    assert mean("RN50", {"path": "x"}) == (0.48145466, 0.4578275, 0.40821073)


def test_what_is_fetched_from_open_clip_is_the_image_tower_and_can_be_loaded(clips, monkeypatch):
    whole, _ = saved_clip(clips, "tiny-rn")
    tag = {"quick_gelu": True, "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bicubic"}
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: ["tag"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr(open_clip, "create_model", lambda *_, **__: whole)
    entry = Entry("model", "open_clip", "tiny-rn", Weights(open_clip="tag"))
    save_file(open_clip_models.fetch("net", entry), clips / "tower.safetensors")
    model = open_clip_models.load("net", entry, clips / "tower.safetensors", "cpu")
    x = images(64, 64)
    torch.testing.assert_close(model.scores(x), whole.encode_image(x).detach())


def test_a_file_without_an_image_tower_is_refused(clips):
    save_file({"conv1.weight": torch.zeros(1)}, clips / "other.safetensors")
    with pytest.raises(ValueError, match="no name in common.*conv1.weight; .*: visual.conv1.weig"):
        open_clip_models.load("net", clip_entry("tiny-rn"), clips / "other.safetensors", "cpu")


def test_a_checkpoint_of_open_clip_s_trainer_is_loaded_by_key_and_prefix(clips):
    whole, _ = saved_clip(clips, "tiny-vit")
    state = {f"module.{key}": value for key, value in whole.state_dict().items()}
    torch.save({"epoch": 1, "state_dict": state}, path := clips / "epoch_1.pt")

    def loaded(**source):
        entry = clip_entry("tiny-vit", weights={"path": str(path)} | source)
        return open_clip_models.load("net", entry, path, "cpu")

    with pytest.raises(ValueError, match="name one of its parts as the key.*'state_dict'"):
        loaded()
    with pytest.raises(ValueError, match='write prefix: "module." into `weights` of net in config'):
        loaded(key="state_dict")
    tower = loaded(key="state_dict", prefix="module.").module
    torch.testing.assert_close(tower.visual.state_dict(), whole.visual.state_dict())
    with pytest.raises(ValueError, match='Write prefix: "module." in `weights` of net'):
        loaded(key="state_dict", prefix="module.visual.")


def test_the_layout_of_transformers_is_named_and_the_file_to_use_instead(clips):
    tensors = {"vision_model.embeddings.class_embedding": torch.zeros(8)}
    save_file(tensors, clips / "hugging.safetensors")
    with pytest.raises(ValueError, match="Hugging Face's transformers.*open_clip_model.saf"):
        open_clip_models.load("net", clip_entry("tiny-rn"), clips / "hugging.safetensors", "cpu")


def test_an_address_of_a_hub_is_no_architecture_of_open_clip():
    with pytest.raises(ValueError, match="is an address of a hub, from which nothing is"):
        open_clip_models.load("net", clip_entry("hf-hub:laion/CLIP-ViT-B-32"), None, "cpu")


# ONNX


def onnx_file(folder, nodes, shape, constants=None, inputs="x"):
    """A graph from `x` through nodes, whose last output is its output."""
    values = [
        numpy_helper.from_array(np.asarray(value, np.float32), key)
        for key, value in (constants or {}).items()
    ]
    taken = [helper.make_tensor_value_info(one, TensorProto.FLOAT, shape) for one in inputs]
    given = [onnx.ValueInfoProto(name=nodes[-1].output[0])]
    graph = helper.make_graph(nodes, "net", taken, given, values)
    opset = [helper.make_opsetid("", 17)]
    path = folder / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], f"/{output}/{kind}", **attributes)


def onnx_model(path, size=(8, 8), **architecture):
    entry = {"architecture": architecture, "preprocessing": PLAIN | {"size": list(size)}}
    return onnx_models.load("net", Entry.from_mapping(entry), path, "cpu")


def convolution(seed=0):
    return np.random.default_rng(seed).normal(size=(8, 3, 3, 3)).astype(np.float32)


def expected(weight, x):
    return nn.functional.conv2d(x, torch.from_numpy(weight), padding=1).relu()


def test_an_onnx_file_with_channels_first_gives_the_maps_of_the_same_torch_layer(tmp_path):
    w = convolution()
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r")]
    model = onnx_model(onnx_file(tmp_path, nodes, ["n", 3, 8, 8], {"w": w}))
    assert [layer.name for layer in model.layers(["r.*"])] == ["r.Relu"]
    x = images(8, 8)
    torch.testing.assert_close(model.activations(x, ["r.Relu"])["r.Relu"], expected(w, x))


@pytest.mark.parametrize("transposed_back", [True, False])
def test_an_onnx_file_may_take_channels_last_and_transpose_inside(tmp_path, transposed_back):
    w = convolution()
    nodes = [
        node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
        node("Conv", "t w", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("Transpose", "c", "b", perm=[0, 2, 3, 1]),
        node("Relu", "b" if transposed_back else "c", "r"),
    ]
    path = onnx_file(tmp_path, nodes, ["n", 8, 8, 3], {"w": w})
    model = onnx_model(path, channels_last=True)
    x = images(8, 8)
    found = model.activations(x, ["r.Relu"])["r.Relu"]
    torch.testing.assert_close(found, expected(w, x)[:, :, ::2, ::2])


def test_an_onnx_file_of_a_fixed_batch_takes_any_number_of_images(tmp_path):
    w = convolution()
    nodes = [node("Conv", "x w", "c", pads=[1, 1, 1, 1]), node("Relu", "c", "r")]
    model = onnx_model(onnx_file(tmp_path, nodes, [2, 3, 8, 8], {"w": w}))
    assert model.layers()[0].channels == 8
    x = torch.cat([images(8, 8), images(8, 8, seed=2)[:1]])
    torch.testing.assert_close(model.activations(x, ["r.Relu"])["r.Relu"], expected(w, x))


def test_nonlinearities_that_exporters_write_as_several_nodes_are_found(tmp_path):
    constants = {"six": 6, "zero": 0, "half": 0.5, "one": 1, "root": 2**0.5, "k": 1.702}
    nodes = [
        node("Clip", "x zero six", "relu6"),
        node("Sigmoid", "x", "s"),
        node("Mul", "x s", "silu"),
        node("Mul", "x k", "kx"),
        node("Sigmoid", "kx", "ks"),
        node("Mul", "ks x", "quick"),
        node("Div", "x root", "d"),
        node("Erf", "d", "e"),
        node("Add", "e one", "a"),
        node("Mul", "x a", "m"),
        node("Mul", "m half", "gelu"),
        node("Mul", "silu ks", "gate"),
        node("Clip", "x zero one", "limits"),
        node("Sum", "relu6 silu quick gelu gate limits", "y"),
    ]
    model = onnx_model(onnx_file(tmp_path, nodes, ["n", 3, 8, 8], constants))
    kinds = {layer.name: layer.nonlinearity for layer in model.layers()}
    assert kinds == {
        "relu6.Clip": "Relu6",
        "silu.Mul": "Swish",
        "quick.Mul": "QuickGelu",
        "gelu.Mul": "Gelu",
    }
    x = images(8, 8)
    found = model.activations(x, ["gelu.Mul", "silu.Mul"])
    torch.testing.assert_close(found["gelu.Mul"], gelu(x))
    torch.testing.assert_close(found["silu.Mul"], nn.functional.silu(x))


def test_tokens_of_an_onnx_file_need_the_grid_of_its_entry(tmp_path):
    shape = {"to": [0, 3, -1]}
    nodes = [
        helper.make_node("Constant", [], ["to"], value_ints=shape["to"]),
        node("Reshape", "x to", "flat"),
        node("Transpose", "flat", "tokens", perm=[0, 2, 1]),
        node("Relu", "tokens", "r"),
    ]
    path = onnx_file(tmp_path, nodes, ["n", 3, 4, 6])
    with pytest.raises(ValueError, match=r"has 24 tokens; nothing says.*grid: \[y, x\]"):
        onnx_model(path, (4, 6)).layers(["*"])
    assert onnx_model(path, (4, 6)).layers() == []
    model = onnx_model(path, (4, 6), grid=[4, 6])
    x = images(4, 6)
    torch.testing.assert_close(model.activations(x, ["r.Relu"])["r.Relu"], x)
    with pytest.raises(ValueError, match="architecture.grid is .*'4x6'.*expected"):
        onnx_model(path, (4, 6), grid=["4x6"])


def test_what_an_onnx_file_cannot_give_is_refused(tmp_path):
    path = onnx_file(tmp_path, [node("Relu", "x", "r")], ["n", 3, 8, 8])
    with pytest.raises(ValueError, match="'module:r.*' asks for the output of any module"):
        onnx_model(path).layers(["module:r.*"])
    with pytest.raises(ValueError, match="cannot be run on images .1, 3, 4, 4.|.2, 3, 4, 4."):
        onnx_model(path, (4, 4)).layers()
    with pytest.raises(
        ValueError, match="unknown key 'channel_last'. Did you mean 'channels_last'"
    ):
        onnx_model(path, channel_last=True)
    with pytest.raises(ValueError, match="has no layer q"):
        onnx_model(path).activations(images(8, 8), ["q"])
    path = onnx_file(tmp_path, [node("Add", "x z", "r")], ["n", 3, 8, 8], inputs="xz")
    with pytest.raises(ValueError, match="has no activation nodes"):
        onnx_model(path)
    nodes = [node("Add", "x z", "a"), node("Relu", "a", "r")]
    with pytest.raises(ValueError, match="takes x .* z .*, expected one batch of images"):
        onnx_model(onnx_file(tmp_path, nodes, ["n", 3, 8, 8], inputs="xz"))


# A user's own function

OWN = '''
import torch
from torch import nn


class Own(nn.Module):
    """A convolution, a ReLU and a fault."""

    def __init__(self, fault=None, channels=4):
        super().__init__()
        self.fault = fault
        self.convolution = nn.Conv2d(3, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels, track_running_stats=fault != "batch")
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.norm(self.convolution(x))
        if self.fault == "random":
            x = nn.functional.dropout(x)
        if self.fault == "raises":
            raise RuntimeError("out of order")
        if self.fault == "inference":
            assert not torch.is_inference_mode_enabled(), "needs a version counter"
        if self.fault == "values" and x.sum().item() > 1e9:
            return None
        return torch.relu(x) if self.fault == "functional" else self.relu(x)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.GELU()

    def forward(self, x):
        return self.act(x.flatten(2).transpose(1, 2))


def build(**arguments):
    torch.manual_seed(0)
    return Own(**arguments)


def tokens():
    return Tokens()


def no_module():
    return build(), "transform"


def fails():
    raise OSError("no such folder")
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Loads a function of a module in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_model.py").write_text(OWN)
    (tmp_path / "broken_model.py").write_text("import nowhere")

    def load(function="own_model:build", weights=tmp_path, more=None, layers=None, **arguments):
        entry = {
            "architecture": {"function": function, "arguments": arguments, **(more or {})},
            "weights": {"function": True},
            "preprocessing": PLAIN | {"size": [6, 8]},
            "layers": layers or {},
        }
        return functions.load("net", Entry.from_mapping(entry), weights, "cpu")

    return load


def test_a_function_of_the_users_own_gives_its_maps(own):
    model = own(channels=5)
    x = images(6, 8)
    found = model.activations(x, ["relu"])["relu"]
    with torch.no_grad():
        plain = model.module.norm(model.module.convolution(x)).relu()
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("fault", [None, "values"])
def test_the_layers_of_a_function_are_known_without_weights_and_without_the_meta_device(own, fault):
    (layer,) = own(weights=None, fault=fault).layers()
    assert (layer.name, layer.channels, layer.size) == ("relu", 4, (6, 8))


def test_tokens_of_a_users_own_module_need_the_grid_of_its_entry(own):
    model = own("own_model:tokens", more={"grid": [[6, 8]]})
    x = images(6, 8)
    torch.testing.assert_close(model.activations(x, ["act"])["act"], gelu(x))
    with pytest.raises(ValueError, match=r"act has 48 tokens; nothing says.*say in its entry how"):
        own("own_model:tokens")


def test_a_module_with_functional_nonlinearities_can_be_tapped_by_module_patterns(own):
    with pytest.raises(ValueError, match="has no activation module.*use nn.ReLU.*module:"):
        own(fault="functional")
    with pytest.raises(ValueError, match="no activation module"):
        own(fault="functional", weights=None)
    model = own(fault="functional", layers={"block": ["module:norm"]})
    (layer,) = model.layers(["module:norm"])
    assert (layer.name, layer.nonlinearity) == ("norm", "none")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("random", "net: two passes over an image differ, first in layer relu"),
        ("batch", "depend on the other images of its batch, first in layer relu"),
        ("raises", r"fails on 1 images of shape \(3, 6, 8\).*RuntimeError: out of order"),
        ("inference", "in inference mode .it runs under torch.no_grad.*version counter"),
    ],
)
def test_a_module_that_cannot_be_mined_is_refused_when_it_is_loaded(own, fault, words):
    with pytest.raises(ValueError, match=words):
        own(fault=fault)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("own_model", "function is 'own_model', expected 'package.module:build'"),
        ("own_modl:build", "own_modl cannot be imported from .*ModuleNotFoundError"),
        ("broken_model:build", "broken_model cannot be imported.*No module named 'nowhere'"),
        ("own_model:biuld", "no function 'biuld'. Did you mean 'build'"),
        ("own_model:no_module", "returns a tuple of Own, str, expected a torch.nn.Module"),
        ("own_model:fails", "own_model:fails fails when called with {}: OSError: no such folder"),
    ],
)
def test_a_function_that_gives_no_module_is_refused(own, function, words):
    with pytest.raises(ValueError, match=words):
        own(function)


def test_weights_of_a_users_own_module_are_loaded_by_name(own, tmp_path):
    reference = own(channels=4).module
    with torch.no_grad():
        reference.convolution.weight.mul_(2)
    torch.save({"model": reference.state_dict()}, tmp_path / "own.pt")
    entry = {
        "architecture": {"function": "own_model:build"},
        "weights": {"path": "own.pt", "key": "model"},
        "preprocessing": PLAIN | {"size": [6, 8]},
    }
    model = functions.load("net", Entry.from_mapping(entry), tmp_path / "own.pt", "cpu")
    torch.testing.assert_close(model.module.state_dict(), reference.state_dict())


def test_a_function_says_nothing_of_preprocessing_so_its_entry_must():
    entry = Entry("model", "function", {"function": "m:f"}, Weights())
    with pytest.raises(ValueError, match="net says nothing of size, interpolation, mean, std"):
        functions.load("net", entry, None, "cpu")
