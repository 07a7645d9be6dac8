"""Self-guidance on a tiny SDXL: diffusers' own pipeline, the notebook's loop in float64, batches, refusals."""

from __future__ import annotations

import importlib
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import methods
from methods.base import Batch, Inputs
from methods.errors import InputError
from methods.self_guidance.method import SelfGuidance

TOKENIZER = Path(__file__).parents[2] / "golden" / "turbo" / "_weights" / "tokenizer"
CAPTION = "a cat on a table"
MOVE: dict[str, Any] = {"edit": "move", "words": ["cat"], "to": [0.9, 0.2], "keep": ["table"]}


@pytest.fixture(scope="module")
def pipe() -> Any:
    """SDXL in miniature, its decoder with the transformer blocks that the notebook names; random weights."""
    diffusers = importlib.import_module("diffusers")
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    torch.manual_seed(3)
    text: dict[str, Any] = {"vocab_size": 554, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"bos_token_id": 552, "eos_token_id": 553, "pad_token_id": 553}
    unet = diffusers.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 4),
        cross_attention_dim=16 + 24,
        attention_head_dim=(1, 2, 2),
        use_linear_projection=True,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=20 + 6 * 8,
    )
    for name, parameter in unet.named_parameters():
        if ".attn2.to_q" in name or ".attn2.to_k" in name:
            parameter.data.mul_(4.0)  # maps that are not flat
    return diffusers.StableDiffusionXLPipeline(
        unet=unet,
        vae=diffusers.AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            scaling_factor=0.13025,
        ),
        text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=16, intermediate_size=32, **text)),
        text_encoder_2=CLIPTextModelWithProjection(
            CLIPTextConfig(hidden_size=24, intermediate_size=32, projection_dim=20, hidden_act="gelu", **text)
        ),
        tokenizer=CLIPTokenizer.from_pretrained(str(TOKENIZER)),
        tokenizer_2=CLIPTokenizer.from_pretrained(str(TOKENIZER), pad_token="!"),
        scheduler=diffusers.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
    )


@pytest.fixture(scope="module")
def folder(pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sdxl") / "model"
    pipe.save_pretrained(path)
    return path


def load(folder: Path, **params: Any) -> SelfGuidance:
    chosen = {"edits": [MOVE], "image_prep": "no_resize", "steps": 5, "strength": 60.0, **params}
    method = methods.load("self_guidance", preset="sdxl_notebook", weights=str(folder), **chosen)
    assert isinstance(method, SelfGuidance)
    return method


def batch_of(method: SelfGuidance, captions: list[str], height: int = 32, width: int = 32) -> Batch:
    pictures = np.random.default_rng(5).integers(0, 256, (len(captions), height, width, 3), np.uint8)
    inputs = [method.prepare(Inputs("k", picture, words)) for picture, words in zip(pictures, captions, strict=True)]
    return Batch(torch.stack(inputs), seeds=list(range(10, 10 + len(captions))), captions=captions)


def test_unguided_it_is_the_pipeline_of_diffusers(pipe: Any, folder: Path) -> None:
    method = load(folder, sampler="ddim", strength=0.0, negative_prompt="a dog")
    states, negative, pooled, negative_pooled = pipe.encode_prompt(CAPTION, negative_prompt="a dog")
    for text, wanted, projection in ((CAPTION, states, pooled), ("a dog", negative, negative_pooled)):
        found = method.model.embed([text])
        torch.testing.assert_close(found.states, wanted)
        torch.testing.assert_close(found.pooled, projection)
    batch = batch_of(method, [CAPTION], 32, 48)
    latents = batch.noise((4, 16, 24), "latent")
    for negative_prompt in ("a dog", None):
        # without a negative prompt both take zeros for it
        method = load(folder, sampler="ddim", strength=0.0, negative_prompt=negative_prompt)
        theirs = pipe(
            CAPTION,
            negative_prompt=negative_prompt,
            height=32,
            width=48,
            num_inference_steps=5,
            guidance_scale=5.0,
            latents=latents,
            output_type="pt",
        ).images
        torch.testing.assert_close(method.translate(batch) * 0.5 + 0.5, theirs, atol=2e-5, rtol=0)


def test_the_notebooks_settings_are_its_loop_in_float64(pipe: Any, folder: Path) -> None:
    """Every setting from the preset, against a restatement of the notebook's loop and energies in float64."""
    method = load(folder, resolution=12)
    batch = batch_of(method, [CAPTION])
    wanted = notebook_run(pipe, batch.noise((4, 16, 16), "latent"), batch.noise((5, 4, 16, 16), "steps"), 60.0)
    plain = notebook_run(pipe, batch.noise((4, 16, 16), "latent"), batch.noise((5, 4, 16, 16), "steps"), 0.0)
    found = method.translate(batch).double()
    assert (wanted - plain).abs().max() > 0.05
    assert (found - wanted).norm() < 1e-4 * (wanted - plain).norm()


def test_a_batch_is_its_samples(folder: Path) -> None:
    captions = [CAPTION, "table and cat"]
    method = load(folder)
    batch = batch_of(method, captions, 32, 48)
    together = method.translate(batch)
    alone = [method.translate(Batch(batch.inputs[n : n + 1], [10 + n], captions=captions[n : n + 1])) for n in range(2)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-3, rtol=0)


def test_real_pictures_and_half_precision_run(folder: Path) -> None:
    for params in ({"mode": "real", "sampler": "ddim"}, {"dtype": "bfloat16"}):
        method = load(folder, **params)
        assert torch.isfinite(method.translate(batch_of(method, [CAPTION]))).all()


def test_what_is_not_sdxl_is_refused(folder: Path, tmp_path: Path) -> None:
    def broken(name: str, **config: Any) -> Path:
        shutil.copytree(folder, tmp_path / name)
        path = tmp_path / name / "unet" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | config))
        return tmp_path / name

    image = broken("image", addition_embed_type="text_image")
    one = broken("one")
    shutil.rmtree(one / "text_encoder_2")
    refiner = broken("refiner", addition_time_embed_dim=10)
    for model, message in (
        (image, r"added conditions \(text_image\), expected SD 1\.x, 2\.x or SDXL"),
        (one, r"text_encoder_2/config\.json missing"),
        (refiner, r"other added conditions than SDXL's base model has"),
    ):
        with pytest.raises(InputError, match=message) as error:
            load(model)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match=r"added conditions \(text_time\), expected SD 1\.x or 2\.x"):
        methods.load("pix2pix_zero", preset="day_to_night", weights=str(folder), caption="a street")


def notebook_run(pipe: Any, start: Tensor, drawn: Tensor, strength: float) -> Tensor:
    """The notebook's loop: (1, 3, H, W) in [-1, 1], the picture of ``start`` under the terms of ``MOVE``.

    ``eps = u + 5 (c - u) + strength * gradient``, no sigma; diffusers' DDPM scheduler with the recorded noise; targets
    of the kept things from an unguided run beside it.
    """
    import copy

    unet = copy.deepcopy(pipe.unet).double()
    scheduler = importlib.import_module("diffusers").DDPMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(drawn.shape[1])
    alphas = scheduler.alphas_cumprod.double()
    states, negative, pooled, negative_pooled = (each.double() for each in pipe.encode_prompt(CAPTION))
    assert negative.abs().max() == 0
    sizes = torch.tensor([[32.0, 32.0, 0.0, 0.0, 32.0, 32.0]]).double()
    seen: dict[str, Tensor] = {}
    blocks = unet.up_blocks[0].attentions[1].transformer_blocks
    for number in (1, 2, 3):
        for part in ("to_q", "to_k"):
            layer = getattr(blocks[number].attn2, part)
            layer.register_forward_hook(lambda _m, _i, output, name=(number, part): seen.update({str(name): output}))
    unet.up_blocks[2].register_forward_hook(lambda _m, _i, output: seen.update(features=output))

    def call(x: Tensor, t: int, text: Tensor, projection: Tensor) -> Tensor:
        return unet(x, t, text, added_cond_kwargs={"text_embeds": projection, "time_ids": sizes}).sample

    def observed() -> tuple[list[Tensor], Tensor]:
        maps = []
        for number in (1, 2, 3):
            q, k = (seen[str((number, part))].unflatten(-1, (2, -1)).transpose(1, 2) for part in ("to_q", "to_k"))
            each = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), -1).mean(1)
            side = math.isqrt(each.shape[1])
            planes = each.unflatten(1, (side, side)).permute(0, 3, 1, 2)
            maps.append(F.interpolate(planes, (12, 12), mode="bilinear", antialias=True).permute(0, 2, 3, 1))
        return maps, seen["features"]

    x = source = start.double()
    for number, t in enumerate(scheduler.timesteps.tolist()):
        with torch.no_grad():
            theirs_c = call(source, t, states, pooled)
            theirs = observed()
            theirs_u = call(source, t, negative, negative_pooled)
        x = x.detach().requires_grad_()
        c = call(x, t, states, pooled)
        (gradient,) = torch.autograd.grad(1000 * notebook_energy(observed(), theirs), x)
        with torch.no_grad():
            u = call(x, t, negative, negative_pooled)
            states_of = []
            for state, eps in (
                (x, u + 5 * (c - u) + strength * gradient / 1000),
                (source, theirs_u + 5 * (theirs_c - theirs_u)),
            ):
                a = alphas[t]
                stride = scheduler.config.num_train_timesteps // drawn.shape[1]
                b = alphas[t - stride] if t >= stride else torch.tensor(1.0).double()
                beta = 1 - a / b
                x0 = (state - (1 - a).sqrt() * eps) / a.sqrt()
                mean = b.sqrt() * beta / (1 - a) * x0 + (1 - beta).sqrt() * (1 - b) / (1 - a) * state
                states_of.append(mean + ((1 - b) / (1 - a) * beta).sqrt() * drawn[:, number].double())
            x, source = states_of
    decoder = copy.deepcopy(pipe.vae).double()
    with torch.no_grad():
        return decoder.decode(x / 0.13025).sample.clamp(-1, 1)


def notebook_energy(seen: tuple[list[Tensor], Tensor], source: tuple[list[Tensor], Tensor]) -> Tensor:
    """2 centroid(cat -> (0.9, 0.2)) + 1 silhouette(table) + 0.3 appearance(cat, table), as the notebook computes them.

    In the tiny vocabulary the cat is token 2 behind the start token, the table tokens 6 to 9, each a column.
    """

    def norm(maps: Tensor) -> Tensor:
        low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
        return (maps - low) / (high - low + 1e-4)

    def centre(maps: Tensor) -> Tensor:
        axes = []
        for over in (1, 2):
            marginal = maps.sum(over) / (maps.sum(over).sum(1, keepdim=True) + 1e-4)
            axes.append((marginal * torch.linspace(0, 1, maps.shape[1]).double()[None, :, None]).sum(1))
        return torch.stack(axes, -1)

    def looks(maps: Tensor, features: Tensor) -> Tensor:
        mask = (norm(maps.detach()) > 0.5).double().permute(0, 3, 1, 2)
        mask = F.interpolate(mask, features.shape[2:], mode="bilinear", antialias=True)
        return torch.einsum("bkhw,bchw->bkc", mask, features) / (mask.sum((2, 3))[..., None] + 1e-4)

    places, shapes = [], []
    for ours, theirs in zip(seen[0], source[0], strict=True):
        places.append((centre(ours[..., [2]]) - torch.tensor([0.9, 0.2]).double()).abs().mean())
        table = ours[..., 6:10]
        hard = (norm(theirs[..., 6:10]) > 0.5).double().permute(0, 3, 1, 2)
        middle = centre(table)[:, 0] * 12
        y, x = torch.meshgrid(torch.arange(12).double(), torch.arange(12).double(), indexing="ij")
        at = torch.stack([x, y], -1) - middle[:, None, None] + middle[:, None, None]
        moved = F.grid_sample(hard, 2 * at / 11 - 1, align_corners=False).permute(0, 2, 3, 1)
        shapes.append((norm(torch.sigmoid(10 * (norm(table) - 0.5))) - moved).abs().mean())
    both = [2, 6, 7, 8, 9]
    look = (looks(seen[0][-1][..., both], seen[1]) - looks(source[0][-1][..., both], source[1])).abs().mean()
    return 2 * torch.stack(places).mean() + torch.stack(shapes).mean() + 0.3 * look
