"""The peers of inputs_bench.cpp: Pillow with the slow Qwen2-VL image processor, and Hugging Face tokenizers, on one thread.

    hf_inputs.py --serve --step image    a line on stdin is a picture's path; answers with milliseconds, of the clock and of the
                                         processor, decoding included
    hf_inputs.py --serve --step image_fast   the same by torchvision's decoder and the fast processor
    hf_inputs.py --serve --step text     a line is a file's path, its documents end with a zero byte; those of encoding them

Needs pillow, numpy, transformers (image), torchvision (image_fast) and tokenizers (text). The first line of the answer names the versions.
"""
import argparse, json, os, sys, time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["OMP_NUM_THREADS"] = "1"


def image():
    import PIL, transformers
    from PIL import Image
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
    processor = Qwen2VLImageProcessor(temporal_patch_size=1, min_pixels=3136, max_pixels=2560000)

    def run(path):
        return len(processor(images=Image.open(path).convert("RGB"), return_tensors="np")["pixel_values"])
    return {"pillow": PIL.__version__, "transformers": transformers.__version__}, run


def image_fast():
    import torch, torchvision, transformers
    from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast
    torch.set_num_threads(1)
    processor = Qwen2VLImageProcessorFast(temporal_patch_size=1, min_pixels=3136, max_pixels=2560000)

    def run(path):
        picture = torchvision.io.decode_jpeg(torchvision.io.read_file(path))
        return len(processor(images=picture, return_tensors="pt")["pixel_values"])
    return {"torchvision": torchvision.__version__, "transformers": transformers.__version__}, run


def text():
    import tokenizers
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "qwen_vocab"))
    import make_hashes
    made, kept = make_hashes.tokenizer(), {}

    def run(path):
        if path not in kept:
            kept[path] = open(path, encoding="utf-8", newline="").read().split("\0")
        return sum(len(made.encode(document, add_special_tokens=False).ids) for document in kept[path])
    return {"tokenizers": tokenizers.__version__}, run


parser = argparse.ArgumentParser()
parser.add_argument("--serve", action="store_true", required=True)
parser.add_argument("--step", choices=["image", "image_fast", "text"], required=True)
args, _ = parser.parse_known_args()
facts, run = {"image": image, "image_fast": image_fast, "text": text}[args.step]()
print(json.dumps(facts), flush=True)
for line in sys.stdin:
    start, processor = time.perf_counter(), time.process_time()
    run(line.strip())
    print(1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - processor), flush=True)
