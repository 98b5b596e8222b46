"""Images that take memory, time or the terminal: each is refused by its header, or waits, or fails in words."""

import io
import json
import random
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tiny_model import build_model, manifest

from mtl_vision.runtime import Model, headers, pipeline
from mtl_vision.runtime.budget import Budget, memory_limit
from mtl_vision.runtime.cli import main
from mtl_vision.runtime.images import FILL, ImageError, decode_rgb, read_image

RNG = np.random.default_rng(0)
PHOTO = cv2.resize(RNG.integers(30, 226, (9, 11, 3), np.uint8), (120, 90))


def encoded(form: str, image: np.ndarray = PHOTO, mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).convert(mode).save(stream, form, **options)
    return stream.getvalue()


def png(width: int, height: int, bits: int = 8, colour: int = 2, pixels: bytes = b"", extra: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    palette = chunk(b"PLTE", bytes(6)) if colour == 3 else b""
    body = header + extra + palette + chunk(b"IDAT", zlib.compress(pixels or bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def reads(data: bytes, limit: int = 10**9) -> np.ndarray:
    return decode_rgb(data, headers.check(data, limit), FILL)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(build_model(tmp_path_factory.mktemp("model") / "m.onnx", manifest(), (48, 64)), threads=1)


# Memory


def test_a_png_whose_chunk_says_four_gigabytes() -> None:
    data = png(20, 20)
    at = data.index(b"IDAT") - 4
    with pytest.raises(ImageError, match="chunk IDAT should have 4294967295 bytes, 33 are left"):
        reads(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (png(32000, 32000, 1, 3), r"at most 268 megapixels, found 32000 x 32000 \(1024 megapixels\)"),
        (png(16000, 16000, 16, 6), r"16000 x 16000 pixels take 4.1 GB of memory to read, 1 GB may be used"),
        (png(16000, 16000, 8, 2, extra=chunk(b"tRNS", bytes(6))), "take 2.05 GB"),
        (b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 30000, -30000, 1, 8, 1), "900 megapixels"),
        (b"GIF89a\xff\xff\xff\xff\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\0", "4295 megapixels"),
        (b"P5 100000 100000 255\n", "truncated"),
    ],
)
def test_the_header_decides_before_anything_is_decoded(data: bytes, reason: str, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=reason):
        reads(data)


@pytest.mark.parametrize("form", ["JPEG", "TIFF", "JPEG2000", "WEBP"])
def test_sizes_in_other_headers(form: str, monkeypatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *args: pytest.fail("it was decoded"))
    data = encoded(form)
    with pytest.raises(ImageError, match="at most 0.0108 megapixels, found 120 x 91|found 120 x 90"):
        headers.check(data, max_pixels=120 * 90 - 1)
    assert headers.check(data, max_pixels=120 * 90).pixels == 120 * 90
    with pytest.raises(ImageError, match="of memory to read"):
        headers.check(data, max_bytes=60_000)


def test_jpeg_2000_of_tiny_blocks_and_precincts_is_measured_by_them() -> None:
    plain, blocks = (headers.check(encoded("JPEG2000", codeblock_size=(n, n))).reading for n in (64, 4))
    precincts = headers.check(encoded("JPEG2000", precinct_size=(16, 16))).reading
    tiles = headers.check(encoded("JPEG2000", tile_size=(4, 4))).reading
    assert min(blocks, precincts, tiles) > 3 * plain


READ = """
import sys
from mtl_vision.runtime import headers, images

def peak():
    return 1024 * int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

images.read_image(sys.argv[1])
data, before = open(sys.argv[2], "rb").read(), peak()
header = headers.check(data)
images.decode_rgb(data, header, images.FILL)
print(peak() - before, header.reading)
"""


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "JPEG2000"])
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the peak")
def test_no_image_takes_more_than_its_header_says(form: str, tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(encoded("PNG"))
    mode, options = {"PNG": ("RGBA", {"compress_level": 1}), "JPEG": ("CMYK", {"progressive": True})}.get(
        form, ("RGB", {})
    )
    image = cv2.resize(PHOTO, (3000, 2000))
    (tmp_path / "image").write_bytes(encoded(form, image, mode, **options))
    names = [str(tmp_path / "small"), str(tmp_path / "image")]
    found = subprocess.run([sys.executable, "-c", READ, *names], capture_output=True, text=True, check=True).stdout
    taken, estimate = map(int, found.split())
    assert 0.5 * estimate < taken < estimate + 4_000_000


def test_transparency_takes_no_floats_of_the_whole_image(tmp_path: Path) -> None:
    rgba = np.dstack([PHOTO, PHOTO[..., 0]])
    wide = cv2.resize(rgba, (700, 800))
    expected = wide[..., :3] * (wide[..., 3:] / 255) + (1 - wide[..., 3:] / 255) * np.array(FILL)
    assert np.abs(reads(encoded("PNG", wide, "RGBA")) - expected).max() < 0.51


# The budget


def test_memory_is_the_least_of_the_cgroups_above_and_the_machine(tmp_path: Path) -> None:
    def group(path: str, limit: str) -> None:
        (tmp_path / "sys/fs/cgroup" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / path).write_text(limit)

    (tmp_path / "proc/self").mkdir(parents=True)
    whole = memory_limit(tmp_path)
    (tmp_path / "proc/self/cgroup").write_text("3:cpuset:/\n4:memory:/jobs/one\n0::/\n")
    group("memory/jobs/one/memory.limit_in_bytes", "9223372036854771712\n")
    assert memory_limit(tmp_path) == whole
    group("memory/jobs/memory.limit_in_bytes", "70000000\n")
    assert memory_limit(tmp_path) == 70_000_000
    (tmp_path / "proc/self/cgroup").write_text("0::/user/a\n")
    group("user/a/memory.max", "max\n")
    assert memory_limit(tmp_path) == whole
    group("user/memory.max", "60000000\n")
    assert memory_limit(tmp_path) == 60_000_000
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/of/the/host\n")  # as a container sees it
    group("memory/memory.limit_in_bytes", "50000000\n")
    assert memory_limit(tmp_path) == 50_000_000


def test_claims_wait_for_each_other_and_one_alone_gets_in() -> None:
    budget, held, most = Budget(100), [], []

    def work(amount: int) -> None:
        with budget.claim(amount):
            held.append(amount)
            most.append(sum(held))
            time.sleep(0.001)
            held.remove(amount)

    threads = [threading.Thread(target=work, args=(amount,)) for amount in [60, 60, 30, 100, 10, 1, 60, 500] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert all(total <= 100 or total == 500 for total in most) and max(most) == 500


@pytest.mark.parametrize("batch", [1, 4])
def test_images_that_fill_the_budget_one_by_one_all_come_through_in_order(
    model: Model, tmp_path: Path, monkeypatch, batch: int
) -> None:
    claimed, most, lock = [], [], threading.Lock()
    data = encoded("PNG", mode="RGBA")
    written = 120 * 90 * 29

    class Counting(Budget):
        def __init__(self) -> None:
            super().__init__(written)

        def claim(self, amount: int):
            context = super().claim(amount)

            class Claim:
                def __enter__(self) -> None:
                    context.__enter__()
                    with lock:
                        claimed.append(amount)
                        most.append(sum(claimed))

                def __exit__(self, *error: object) -> None:
                    with lock:
                        claimed.remove(amount)
                    context.__exit__(None, None, None)

            return Claim()

    monkeypatch.setattr(pipeline, "Budget", Counting)
    items = []
    for i in range(16):
        (tmp_path / f"{i:02}.png").write_bytes(data if i % 4 else png(1000, 1000))
        items.append((tmp_path / f"{i:02}.png", f"{i:02}"))
    summary = pipeline.run(model, items, tmp_path / "out", batch=batch, quiet=True)
    found = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert [line["name"] for line in found] == [name for _, name in items]
    assert summary.done == 12 and max(most) <= written
    assert "take 0.006 GB of memory to read, 0.000313 GB may be used" in found[0]["error"]


def test_an_image_whose_results_do_not_fit_is_refused_with_both_figures(
    model: Model, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(pipeline, "Budget", lambda: Budget(250_000))
    for save, done in ((None, 0), (["segmentation"], 1)):
        summary = pipeline.run(model, [(tmp_path / "a.png", "a")], tmp_path / "out", save=save, quiet=True)
        assert summary.done == done
    line = json.loads((tmp_path / "out" / "results.jsonl").read_text())
    assert line["status"] == "ok"
    summary = pipeline.run(model, [(tmp_path / "a.png", "a")], tmp_path / "out", quiet=True)
    assert "its 120 x 90 pixels takes 0.000313 GB of memory, 0.00025 GB may be used" in summary.failed[0][1]


def test_the_command_limits_pixels_and_says_so(model: Model, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    call = [str(model.path), str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main([*call, "--max-pixels", "1e4"]) == 2
    assert "expected at most 0.01 megapixels, found 120 x 90" in capsys.readouterr().err
    assert main([*call, "--max-pixels", "10800"]) == 0
    for wrong in ("0", "1.5", "inf", "nan", "many"):
        with pytest.raises(SystemExit):
            main([*call, "--max-pixels", wrong])
    with suppress(SystemExit):
        main(["--help"])
    assert "2.7e+08" in capsys.readouterr().out


def test_predict_has_the_same_limits(model: Model, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "a.png").write_bytes(png(16000, 16000, 16, 6))
    monkeypatch.setattr("mtl_vision.runtime.images.default_budget", lambda: 10**9)
    with pytest.raises(ImageError, match="4.1 GB of memory to read, 1 GB may be used"):
        model.predict(str(tmp_path / "a.png"))


# Time


def test_what_would_take_long_is_refused_soon() -> None:
    started, scan = time.perf_counter(), encoded("JPEG", progressive=True)
    at = scan.index(b"\xff\xda")
    many = {
        "chunks": png(20, 20, extra=chunk(b"teXt", b"") * 300_000),
        "scans": scan[:at] + scan[at:-2] * 40 + scan[-2:],
        "segments": scan[:2] + b"\xff\xfe\0\2" * 30_000 + scan[2:],
    }
    for name, data in many.items():
        with pytest.raises(ImageError, match=f"more than .* {name}"):
            reads(data)
    with pytest.raises(ImageError, match="damaged"):  # a loop of boxes
        reads(b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\0ftyp")
    assert time.perf_counter() - started < 2


# Other formats


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x20ftypavif" + bytes(50), "AVIF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"v/1\x01" + bytes(50), "OpenEXR"),
        (b"\x59\xa6\x6a\x95" + bytes(50), "Sun raster"),
        (b"P7\nWIDTH 4\n", "PAM"),
        (b"Pf\n4 4\n-1\n" + bytes(64), "PFM"),
    ],
)
def test_formats_that_are_not_promised_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(ImageError, match=f"expected PNG, JPEG, .*, found {name}; convert it"):
        reads(data)


# Damage


def lossless_tiffs() -> list[bytes]:
    compressions = ("raw", "tiff_lzw", "tiff_deflate", "packbits")
    images = [encoded("TIFF", mode=mode, compression=name) for mode in ("RGB", "L", "RGBA") for name in compressions]
    bilevel = [encoded("TIFF", mode="1", compression=name) for name in ("tiff_lzw", "group3", "group4")]
    return [*images, *bilevel, encoded("TIFF", big_tiff=True)]


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_tiff_is_never_a_black_image(seed: int) -> None:
    random_ = random.Random(seed)
    for data in lossless_tiffs() * 40:
        broken = bytearray(data)
        directory = int.from_bytes(data[4:8], "little")
        at = random_.choice((directory + random_.randrange(150), random_.randrange(len(data)), 8, 9)) % len(data)
        broken[at : at + random_.choice((1, 2, 40))] = random_.choice(
            (b"\0", b"\xff", b"\0\0\0\0", random_.randbytes(1))
        )
        with suppress(ImageError):
            assert reads(bytes(broken)).max() > 0


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group3", "group4"])
@pytest.mark.parametrize("value", [0, 255])
def test_a_genuine_black_or_white_tiff_is_read(compression: str, value: int) -> None:
    for size in ((1, 1), (90, 120), (700, 3)):
        for mode in ("1",) if compression.startswith("group") else ("RGB", "L"):
            image = np.full((*size, 3), value, np.uint8)
            assert (reads(encoded("TIFF", image, mode, compression=compression)) == value).all()


def test_damage_in_chunks_that_are_not_needed_does_not_matter() -> None:
    data = encoded("PNG", icc_profile=b"no profile" * 20)
    at = data.index(b"iCCP") + 30
    broken = data[:at] + b"\x07" + data[at + 1 :]
    assert broken != data
    np.testing.assert_array_equal(reads(broken), PHOTO)


# The terminal


def test_the_libraries_own_words_do_not_reach_the_terminal(model: Model, tmp_path: Path) -> None:
    jpeg, folder = encoded("JPEG"), tmp_path / "in"
    folder.mkdir()
    (folder / "premature.jpg").write_bytes(jpeg[: len(jpeg) // 2] + b"\xff\xd9")
    (folder / "extraneous.jpg").write_bytes(jpeg[:20] + bytes(9) + jpeg[20:])
    (folder / "deflate.png").write_bytes(png(120, 90, pixels=b"\7" * 120 * 90 * 3))  # no filter is 7
    (folder / "profile.png").write_bytes(encoded("PNG", icc_profile=b"no profile"))
    (folder / "bits.tif").write_bytes(encoded("TIFF").replace(b"\3\1\3\0\1\0\0\0\1\0", b"\3\1\3\0\1\0\0\0\4\0"))
    call = [
        sys.executable,
        "-m",
        "mtl_vision.runtime.cli",
        str(model.path),
        str(folder),
        "--out",
        str(tmp_path / "out"),
    ]
    script = f"import sys; from mtl_vision.runtime.cli import main; sys.exit(main({call[3:]!r} + ['--quiet']))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    failed = [line for line in done.stderr.splitlines() if not line.startswith(f"failed: {folder}")]
    assert done.returncode == 2 and failed == [] and "deflate.png" in done.stderr
    for word in ("libpng", "Corrupt JPEG", "Fax3"):
        assert word not in (tmp_path / "out" / "results.jsonl").read_text()


def test_after_the_command_stderr_is_as_before(model: Model, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    script = (
        "import os, sys; from mtl_vision.runtime.cli import main; "
        f"main([{str(model.path)!r}, {str(tmp_path / 'a.png')!r}, '--out', {str(tmp_path / 'out')!r}, '--quiet']); "
        "os.write(2, b'descriptor '); print('python', file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == "descriptor python\n"


def test_limits_of_files_in_the_api(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(encoded("BMP"))
    assert read_image(tmp_path / "a.bmp", max_bytes=200_000).shape == (90, 120, 3)
    with pytest.raises(ImageError, match="too large"):
        read_image(tmp_path / "a.bmp", max_bytes=50_000)


@pytest.mark.parametrize("filler", [b" ", b"#\n", b"#\n#\r"])
def test_a_pnm_of_nothing_but_space_and_comments(filler: bytes) -> None:
    """A regular expression took 115 bytes of memory for each of the file's."""
    tracemalloc.start()
    with pytest.raises(ImageError, match="its size cannot be read"):
        headers.check(b"P6" + filler * (10**6 // len(filler)) + b"x", 2**30)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_more_data_than_the_pixels_need_are_not_inflated() -> None:
    """16 x 16 pixels, and 16 MB of zeros."""
    data = png(16, 16, pixels=bytes(16 * 2**20))
    with pytest.raises(ImageError, match="its 16 x 16 pixels have .* bytes of data"):
        headers.check(data, 2**30)


def test_a_jpeg_that_says_more_than_its_data_can_hold() -> None:
    data = bytearray(cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 16000, 16000)
    with pytest.raises(ImageError, match="too few for 16000 x 16000 pixels"):
        headers.check(bytes(data), 2**32)
    flat = cv2.imencode(".jpg", np.zeros((4000, 4000), np.uint8), [cv2.IMWRITE_JPEG_OPTIMIZE, 1])[1].tobytes()
    assert headers.check(flat, 2**32).width == 4000, "an image of one colour takes two bits a block"


def test_a_flat_tiff_in_colour_is_one(tmp_path: Path) -> None:
    """PackBits does not make it small."""
    path = tmp_path / "flat.tif"
    Image.fromarray(np.full((96, 128, 3), (9, 80, 3), np.uint8)).save(path, compression="packbits")
    assert (read_image(path) == (9, 80, 3)).all()
