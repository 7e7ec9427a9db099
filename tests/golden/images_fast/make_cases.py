"""What Transformers' fast Qwen2VLImageProcessor makes of the pictures beside this file: SHA-256 of pixel_values and of the
resized bytes, one line a case.

    python make_cases.py        (transformers 4.55.4, torch 2.8.0 and torchvision 0.23.0 on a CPU with AVX2, pillow 13.0.0)
"""
import hashlib
import json
import os

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional
from transformers import Qwen2VLImageProcessorFast
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

here = os.path.dirname(os.path.abspath(__file__))
pictures = here
torch.set_num_threads(1)


def sha(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


with open(os.path.join(pictures, "cases.json")) as file:
    asked = json.load(file)["cases"]
cases = []
for case in asked:
    limits = {"min_pixels": case["min_pixels"], "max_pixels": case["max_pixels"]}
    processor = Qwen2VLImageProcessorFast(patch_size=14, merge_size=2, temporal_patch_size=1, **limits)
    image = Image.open(os.path.join(pictures, case["file"]))
    out = processor(images=[image], return_tensors="pt", device="cpu")
    values = out["pixel_values"].numpy()
    assert values.dtype == np.float32 and out["image_grid_thw"].tolist() == [case["grid_thw"]]
    rgb = functional.pil_to_tensor(image.convert("RGB"))
    size = smart_resize(rgb.shape[1], rgb.shape[2], factor=28, **limits)
    resized = functional.resize(rgb[None], list(size), functional.InterpolationMode.BICUBIC, antialias=True)[0]
    cases.append({"file": case["file"], **limits, "grid_thw": case["grid_thw"],
                  "resized_sha256": sha(resized.permute(1, 2, 0).numpy()), "pixel_values_f32_le_sha256": sha(values)})
with open(os.path.join(here, "cases.json"), "w") as file:
    file.write('{"cases": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]}\n")
print(len(cases), "cases")
