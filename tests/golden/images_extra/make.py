"""Writes the odd pictures of this folder and cases.json: size and SHA-256 of Image.open(file).convert("RGB") as Pillow
gives them, or "error". Needs Pillow and numpy, and odd_jpegs built from odd_jpegs.cpp beside this file.

    g++ odd_jpegs.cpp -ljpeg -o /tmp/odd_jpegs && python make.py /tmp/odd_jpegs
"""
import hashlib
import io
import json
import os
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
from PIL import Image, features
import PIL

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(7)


def chunk(tag, data):
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def pack_rows(samples, depth, filters):
    """samples [h, w, channels]; one filter type per row, cycling."""
    h, w, c = samples.shape
    bpp = max(1, depth * c // 8)
    out, before = b"", None
    for y in range(h):
        flat = samples[y].reshape(-1)
        if depth == 16:
            row = flat.astype(">u2").tobytes()
        elif depth == 8:
            row = flat.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in flat)
            bits += "0" * (-len(bits) % 8)
            row = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        up = before or bytes(len(row))
        kind = filters[y % len(filters)]
        enc = bytearray()
        for i, v in enumerate(row):
            a = row[i - bpp] if i >= bpp else 0
            b, d = up[i], up[i - bpp] if i >= bpp else 0
            p = a + b - d
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - d), 2, d))[2]
            enc.append((v - [0, a, b, (a + b) // 2, near][kind]) & 255)
        out += bytes([kind]) + bytes(enc)
        before = row
    return out


def png(name, depth, color, w=23, h=19, interlaced=False, palette=None, trns=None, samples=None, extra=b"", idat=1):
    c = CHANNELS[color]
    if samples is None:
        top = len(palette) if palette else 1 << depth
        samples = rng.integers(0, top, (h, w, c))
    filters = [0, 1, 2, 3, 4]
    if interlaced:
        raw = b""
        for x0, y0, dx, dy in ADAM7:
            part = samples[y0::dy, x0::dx]
            if part.size:
                raw += pack_rows(part, depth, filters)
    else:
        raw = pack_rows(samples, depth, filters)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, int(interlaced)))
    data += extra
    if palette:
        data += chunk(b"PLTE", bytes(v for p in palette for v in p))
    if trns:
        data += chunk(b"tRNS", trns)
    z = zlib.compress(raw)
    step = -(-len(z) // idat)
    for i in range(0, len(z), step):
        data += chunk(b"IDAT", z[i:i + step])
    data += chunk(b"IEND", b"")
    open(os.path.join(HERE, name), "wb").write(data)


def colors(n):
    return [tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(n)]


png("gray2.png", 2, 0)
png("gray4.png", 4, 0)
png("gray1_interlaced.png", 1, 0, interlaced=True)
png("gray8_trns.png", 8, 0, trns=b"\x00\x07")
png("gray16_low.png", 16, 0, samples=rng.integers(0, 520, (19, 23, 1)))
png("gray16_interlaced_trns.png", 16, 0, interlaced=True, trns=b"\x01\x07")
png("rgb8_interlaced_trns.png", 8, 2, interlaced=True, trns=b"\x00\x01\x00\x02\x00\x03")
png("rgb16.png", 16, 2)
png("rgb16_interlaced.png", 16, 2, interlaced=True)
png("palette1.png", 1, 3, palette=colors(2))
png("palette2.png", 2, 3, palette=colors(4))
png("palette4_interlaced.png", 4, 3, palette=colors(16), interlaced=True)
png("palette8_trns.png", 8, 3, palette=colors(200), trns=bytes(range(200)))
png("palette8_short.png", 8, 3, palette=colors(5), samples=rng.integers(0, 12, (19, 23, 1)))
png("gray_alpha8_interlaced.png", 8, 4, interlaced=True)
png("gray_alpha16.png", 16, 4)
png("rgba16.png", 16, 6)
png("rgba8_interlaced.png", 8, 6, interlaced=True)
png("one_pixel_interlaced.png", 8, 2, w=1, h=1, interlaced=True)
png("many_idat.png", 8, 2, idat=40)
png("gamma_and_srgb.png", 8, 2,
    extra=chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"cHRM", struct.pack(">8I", *([31000] * 8))))
png("significant_bits.png", 8, 2, extra=chunk(b"sBIT", b"\x05\x06\x05"))

picture = Image.fromarray(np.kron(rng.integers(0, 256, (6, 8, 4)), np.ones((9, 7, 1))).astype(np.uint8), "RGBA")
frames = [picture, picture.transpose(Image.Transpose.ROTATE_180), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
frames[0].save(os.path.join(HERE, "animated.png"), save_all=True, append_images=frames[1:])
frames[0].save(os.path.join(HERE, "animated_lossless.webp"), save_all=True, append_images=frames[1:], lossless=True)
frames[0].convert("RGB").save(os.path.join(HERE, "animated_lossy.webp"), save_all=True, quality=70,
                              append_images=[f.convert("RGB") for f in frames[1:]])
picture.save(os.path.join(HERE, "lossy_alpha.webp"), quality=60)
picture.convert("RGB").save(os.path.join(HERE, "lossless.webp"), lossless=True)
picture.convert("RGB").resize((63, 41)).save(os.path.join(HERE, "lossy_icc.webp"), quality=50, icc_profile=b"x" * 40)


def riff(tag, data):
    return tag + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


# An animation whose first frame covers only part of the canvas: the rest stays black.
buffer = io.BytesIO()
picture.resize((20, 12)).save(buffer, "WEBP", lossless=True)
frame = buffer.getvalue()
frame = frame[frame.index(b"VP8L"):]
u24 = lambda v: struct.pack("<I", v)[:3]
body = riff(b"VP8X", bytes([0x12, 0, 0, 0]) + u24(49) + u24(29)) + riff(b"ANIM", b"\x80\x90\xa0\xff\0\0")
body += riff(b"ANMF", u24(5) + u24(4) + u24(19) + u24(11) + u24(100) + b"\0" + frame)
body += riff(b"ANMF", u24(0) + u24(0) + u24(19) + u24(11) + u24(100) + b"\0" + frame)
open(os.path.join(HERE, "animated_offset.webp"), "wb").write(b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body)

subprocess.run([sys.argv[1], HERE], check=True)

# Complete pixels, damaged ends: what Pillow accepts stays equal.
base = open(os.path.join(HERE, "yuv440.jpg"), "rb").read()
open(os.path.join(HERE, "no_end_marker.jpg"), "wb").write(base[:-2])
open(os.path.join(HERE, "early_end_marker.jpg"), "wb").write(base[:len(base) * 2 // 3] + b"\xff\xd9")
open(os.path.join(HERE, "trailing_bytes.jpg"), "wb").write(base + b"something behind the picture" * 20)
flipped = bytearray(base)
flipped[len(base) * 2 // 3] ^= 0x15
open(os.path.join(HERE, "flipped_byte.jpg"), "wb").write(flipped)
whole = open(os.path.join(HERE, "rgb16.png"), "rb").read()
open(os.path.join(HERE, "no_end_chunk.png"), "wb").write(whole[:-12])
many = bytearray(open(os.path.join(HERE, "many_idat.png"), "rb").read())
many[many.index(b"IDAT", 200) - 5] ^= 1  # the checksum of an earlier chunk of image data
open(os.path.join(HERE, "wrong_data_checksum.png"), "wb").write(many)
woven = open(os.path.join(HERE, "rgb8_interlaced_trns.png"), "rb").read()
open(os.path.join(HERE, "interlaced_no_checksum.png"), "wb").write(woven[:-18])
open(os.path.join(HERE, "interlaced_cut.png"), "wb").write(woven[:-90])

cases = {}
for name in sorted(os.listdir(HERE)):
    if name.rsplit(".", 1)[-1] not in ("jpg", "png", "webp"):
        continue
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            rgb = Image.open(os.path.join(HERE, name)).convert("RGB")
            cases[name] = {"size_wh": list(rgb.size), "sha256": hashlib.sha256(rgb.tobytes()).hexdigest()}
        except Exception as e:
            cases[name] = {"error": f"{type(e).__name__}: {e}"}
versions = {"pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"), "webp": features.version("webp")}
with open(os.path.join(HERE, "cases.json"), "w") as f:
    lines = [f"{json.dumps(n)}: {json.dumps(c)}" for n, c in cases.items()]
    f.write(json.dumps(versions)[:-1] + ', "cases": {\n' + ",\n".join(lines) + "\n}}\n")

# pass_order.png is the picture that the hashes of tests/image/resize_test.cpp were made of.

# Every picture of ../images_fast cut short: [bytes kept, SHA-256 of the pixels or null where Pillow raises].
cuts = {}
source = os.path.join(HERE, "..", "images_fast")
for name in sorted(os.listdir(source)):
    if name.rsplit(".", 1)[-1] not in ("jpg", "png", "webp"):
        continue
    data = open(os.path.join(source, name), "rb").read()
    n = len(data)
    cuts[name] = []
    for keep in sorted({0, 1, 3, 11, 12, 20, 33, n // 8, n // 4, n // 2, 3 * n // 4, n - 100, n - 20, n - 17, n - 16, n - 14,
                        n - 13, n - 12, n - 8, n - 5, n - 2, n - 1}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                pixels = Image.open(io.BytesIO(data[:keep])).convert("RGB").tobytes()
                cuts[name].append([keep, hashlib.sha256(pixels).hexdigest()])
            except Exception:
                cuts[name].append([keep, None])
with open(os.path.join(HERE, "truncations.json"), "w") as f:
    f.write("{\n" + ",\n".join(f"{json.dumps(n)}: {json.dumps(c)}" for n, c in cuts.items()) + "\n}\n")
