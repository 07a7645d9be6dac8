"""What each metric adds to the work on a picture: a one-step method with it, over the same without any metric.

    python -m benchmarks.metrics_cost [--side 256] [--pictures 8] [--light]

In CPU seconds of one thread, which a busy machine changes least: decoding, the bundled day-to-night model, encoding,
and the metric on the same pictures. Networks have their published sizes and random weights, which take the same time as
the published ones.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import methods
from jobs.streets.encode import RenderJob, render_scene
from methods.base import Batch, Inputs, to_uint8
from methods.nn.lpips import AlexNetFeatures, SqueezeNetFeatures, VGG16Features
from pipeline import codec, metrics
from pipeline.labels import Labels
from pipeline.labels.records import Annotation
from pipeline.metrics.base import Pictures

RESULTS = Path(__file__).parent / "results" / "metrics_cost.json"
DEFAULT = ("psnr", "ssim", "structure")
WEIGHTLESS = (*DEFAULT, "ms_ssim", "colour", "sharpness", "label_change")


def write_weights(folder: Path) -> dict[str, metrics.Entry]:
    """Random weights of the published layouts, and the metrics that take them, by name."""
    import open_clip
    import timm

    from pipeline.metrics.inception_features import Unfilled

    entries: dict[str, metrics.Entry] = {}
    for name, trunk in (("alex", AlexNetFeatures()), ("vgg", VGG16Features()), ("squeeze", SqueezeNetFeatures())):
        torch.save(trunk.state_dict(), folder / f"{name}.pth")
        heads = {f"lin{at}.model.1.weight": torch.rand(1, width, 1, 1) for at, width in enumerate(trunk.channels)}
        torch.save(heads, folder / f"{name}-heads.pth")
        weights, own = str(folder / f"{name}.pth"), str(folder / f"{name}-heads.pth")
        entries[f"lpips ({name})"] = {"lpips": {"network": name, "weights": weights, "heads": own}}
    torch.save(timm.create_model("vit_base_patch8_224.dino", pretrained=False).state_dict(), folder / "dino.pth")
    entries["dino_structure"] = {"dino_structure": {"weights": str(folder / "dino.pth")}}
    torch.save(open_clip.create_model("ViT-B-32-quickgelu").state_dict(), folder / "clip.pth")
    entries["clip_score"] = {"clip_score": {"model": str(folder / "clip.pth"), "text": "a street at night"}}
    torch.save(Unfilled().state_dict(), folder / "inception.pth")
    entries["fid"] = {"fid": {"network": str(folder / "inception.pth")}}
    return entries


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds of a call, the least of three."""
    found = []
    for _ in range(3):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--light", action="store_true", help="leave out the networks of more than 5 million parameters")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    jobs = [RenderJob(seed, asked.side, asked.side, ("day",), None) for seed in range(asked.pictures)]
    files = [render_scene(job).members["day"][job.suffix] for job in jobs]
    method = methods.load("cyclegan_turbo", preset="street_day_to_night")
    outputs: list[np.ndarray] = []

    def translate() -> None:
        outputs.clear()
        for number, data in enumerate(files):
            tensor = method.prepare(Inputs(str(number), codec.decode(data).pixels))
            with torch.inference_mode():
                image = method.translate(Batch(tensor[None], [number], [str(number)], [None], [{}]))
            outputs.extend(to_uint8(image))
            codec.encode(outputs[-1], "jpeg", 95)

    base = seconds(translate) / asked.pictures
    sources = [codec.decode(data).pixels for data in files]
    boxes = [Annotation("car", bbox=(8.0 * at, 100.0, 60.0, 40.0)) for at in range(8)]
    labels = [Labels(asked.side, asked.side, boxes)] * asked.pictures
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        entries: dict[str, metrics.Entry] = {name: name for name in WEIGHTLESS}
        entries["featdist_efflite0"] = "featdist_efflite0"
        entries |= {} if asked.light else write_weights(Path(folder))
        entries["label_check (small)"] = {"label_check": {"detector": "bundled://street-detector"}}
        for name, entry in entries.items():
            (metric,) = metrics.build([entry])
            load: Callable[[], Any] = getattr(metric, "load", lambda: None)
            load()

            def measure(metric: metrics.Metric = metric) -> None:
                # a batch of its own each time, so that nothing is known of its pictures
                metric.measure(Pictures(sources, outputs, [None] * len(outputs), labels=labels))

            measure()
            rows[name] = 1 + seconds(measure) / asked.pictures / base
            print(f"{name:24} {rows[name]:.3f}", flush=True)
    rows["default (psnr, ssim, structure)"] = 1 + sum(rows[name] - 1 for name in DEFAULT)
    result = {"side": asked.side, "milliseconds without metrics": round(base * 1000, 1)}
    result["times the work without metrics"] = {name: round(value, 3) for name, value in rows.items()}
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
