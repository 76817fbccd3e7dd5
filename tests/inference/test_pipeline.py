"""Threads of the pipeline: order, errors, early ends, and the same result with any number."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from histonuc.inference import pipeline
from histonuc.inference import slide as slide_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.pipeline import in_order
from histonuc.inference.predict import predict
from histonuc.slides import PlainImage
from histonuc.slides.pyramid import Pyramid


@pytest.fixture
def model(pixel_model):
    return pixel_model


@pytest.fixture
def image(tmp_path, blobs):
    Image.fromarray(blobs).save(tmp_path / "blobs.png")
    return tmp_path / "blobs.png"


def test_the_reader_has_stopped_before_the_slide_is_closed(model, image, tmp_path, monkeypatch):
    events = []

    class SlowSlide(PlainImage):
        def read(self, *window):
            time.sleep(0.02)
            events.append("read")
            return super().read(*window)

        def close(self):
            events.append("closed")

    def fail(images):
        raise ValueError("maps hold NaN")

    pixels = np.asarray(Image.open(image))
    monkeypatch.setattr(slide_module, "open_slide", lambda _, **__: SlowSlide(pixels))
    monkeypatch.setattr(model, "maps", fail)
    predict(
        [image], tmp_path / "out", PredictOptions(mpp=0.25, tile_px=192, batch_size=2), model=model
    )
    time.sleep(0.1)
    assert events[-1] == "closed"
    assert 2 <= events.count("read") < 20


def test_workers_keep_the_order_hand_on_errors_and_stop_early():
    taken = []

    def count(error_at):
        for i in range(100):
            if i == error_at:
                raise OSError("disk gone")
            taken.append(i)
            yield i

    def square(i):
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(in_order(count(-1), square, 3)) == [i * i for i in range(100)]
    with pytest.raises(OSError, match="disk gone"):
        list(in_order(count(5), square, 3))
    with pytest.raises(ZeroDivisionError):
        list(in_order(count(-1), lambda i: 1 / (i - 7), 3))
    taken.clear()
    results = in_order(count(-1), square, 2)
    assert [next(results), next(results)] == [0, 1]
    results.close()
    assert len(taken) <= 8


def test_several_threads_read_and_the_result_is_the_same(model, image, tmp_path, monkeypatch):
    predict([image], tmp_path / "few", PredictOptions(mpp=0.25, tile_px=192), model=model)
    monkeypatch.setattr(pipeline, "num_cores", lambda: 9)
    read, readers, all_read = Pyramid.read, set(), threading.Event()

    def slow_read(self, *window):
        if threading.current_thread().name.startswith("histonuc-worker"):
            readers.add(threading.get_ident())
            if len(readers) == 3:
                all_read.set()
            all_read.wait(60)
        return read(self, *window)

    monkeypatch.setattr(Pyramid, "read", slow_read)
    predict([image], tmp_path / "many", PredictOptions(mpp=0.25, tile_px=192), model=model)
    assert all_read.is_set()
    few, many = (tmp_path / name / "blobs" / "nuclei.parquet" for name in ("few", "many"))
    assert few.read_bytes() == many.read_bytes()
