"""Small valid slides of every kind, all showing the same picture, which encodes its coordinates."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import tifffile

from ..inference.conftest import make_blobs, pixel_model, run_on  # noqa: F401 (fixtures)


def coordinate_picture(width, height):
    """RGB whose red is x / 4 + 20 and whose green is y / 4 + 20, averaged inside each pixel."""
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    picture = np.zeros((height, width, 3))
    picture[..., 0] = x / 4 + 20
    picture[..., 1] = y[:, None] / 4 + 20
    picture[..., 2] = 128
    return picture


def halved(picture, factor):
    """Means of whole factor × factor blocks; what does not fill a last one is dropped."""
    height, width = (side // factor * factor for side in picture.shape[:2])
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean((1, 3))


def levels_of(width, height, factors):
    picture = coordinate_picture(width, height)
    return [np.rint(halved(picture, factor)).astype(np.uint8) for factor in factors]


def write_pyramid(path, levels, **options):
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate"} | options
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            tiff.write(level, subfiletype=int(index > 0), metadata=None, **options)


def write_ome(path, levels, *, mpp=(0.25, 0.25), name="tissue", tiff=None, **options):
    options = {"tile": (64, 64), "photometric": "rgb", "compression": "deflate"} | options
    facts = {
        "axes": "YXS",
        "Name": name,
        "PhysicalSizeX": mpp[0],
        "PhysicalSizeY": mpp[1],
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }

    def write(tiff):
        tiff.write(levels[0], subifds=len(levels) - 1, metadata=facts, **options)
        for level in levels[1:]:
            tiff.write(level, subfiletype=1, **options)

    if tiff is not None:
        return write(tiff)
    with tifffile.TiffWriter(path, ome=True) as tiff:
        return write(tiff)


def write_zarr(path, levels, *, version=2, channels=()):
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=version)
    for index, level in enumerate(levels):
        array = group.create_array(
            str(index),
            shape=(1, 3, 1, *level.shape[:2]),
            chunks=(1, 3, 1, 64, 64),
            dtype=level.dtype,
        )
        array[0, :, 0] = np.moveaxis(level, -1, 0)
    facts = {
        "multiscales": [
            {
                "name": "tissue",
                "axes": [
                    {"name": "t", "type": "time"},
                    {"name": "c", "type": "channel"},
                    {"name": "z", "type": "space", "unit": "micrometer"},
                    {"name": "y", "type": "space", "unit": "micrometer"},
                    {"name": "x", "type": "space", "unit": "micrometer"},
                ],
                "datasets": [
                    {
                        "path": str(index),
                        "coordinateTransformations": [
                            {
                                "type": "scale",
                                "scale": [1, 1, 1, 0.25 * scale, 0.25 * scale],
                            }
                        ],
                    }
                    for index, scale in enumerate(
                        levels[0].shape[1] // level.shape[1] for level in levels
                    )
                ],
            }
        ]
    }
    if channels:
        facts["omero"] = {"channels": [{"label": a, "color": b} for a, b in channels]}
    group.attrs.update(facts if version == 2 else {"ome": facts})


def write_dicom(
    path,
    level,
    *,
    frame=64,
    instance=1,
    series="1.2.3",
    compress=True,
    part=None,
    pieces=1,
    table=True,
    more=None,
):
    """A DICOM slide, or a part of one.

    `part` is a range of its frames, the file's share of a concatenation; `pieces` is how many
    fragments a frame comes in, `table` whether offsets say where it begins; `more` attributes
    are set besides.
    """
    pydicom = pytest.importorskip("pydicom")
    import imagecodecs
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

    height, width = level.shape[:2]
    facts = Dataset()
    facts.file_meta = FileMetaDataset()
    facts.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    facts.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    facts.file_meta.TransferSyntaxUID = JPEG2000Lossless if compress else ExplicitVRLittleEndian
    facts.SOPClassUID = facts.file_meta.MediaStorageSOPClassUID
    facts.SOPInstanceUID = facts.file_meta.MediaStorageSOPInstanceUID
    facts.SeriesInstanceUID = series
    facts.InstanceNumber = instance
    facts.Rows = facts.Columns = frame
    facts.SamplesPerPixel, facts.PlanarConfiguration = 3, 0
    facts.PhotometricInterpretation = "RGB"
    facts.BitsAllocated = facts.BitsStored = 8
    facts.HighBit, facts.PixelRepresentation = 7, 0
    facts.TotalPixelMatrixColumns, facts.TotalPixelMatrixRows = width, height
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [0.00025, 0.00025]
    shared.PixelMeasuresSequence = [measures]
    facts.SharedFunctionalGroupsSequence = [shared]
    padded = np.pad(level, ((0, -height % frame), (0, -width % frame), (0, 0)), mode="edge")
    frames = [
        np.ascontiguousarray(padded[y : y + frame, x : x + frame])
        for y in range(0, height, frame)
        for x in range(0, width, frame)
    ]
    if part is not None:
        facts.ConcatenationUID = "1.2.9"
        facts.ConcatenationFrameOffsetNumber = part.start
        frames = frames[part.start : part.stop]
    for name, value in (more or {}).items():
        setattr(facts, name, value)
    facts.NumberOfFrames = len(frames)
    if compress:
        codes = [
            imagecodecs.jpeg2k_encode(one, reversible=True, codecformat="j2k") for one in frames
        ]
        facts.PixelData = encapsulate(codes, fragments_per_frame=pieces, has_bot=table)
        facts["PixelData"].VR = "OB"
    else:
        facts.PixelData = b"".join(one.tobytes() for one in frames)
        facts["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, facts, enforce_file_format=True)


def write_sparse(path, side, picture=None):
    """BigTIFF of side × side tiles of one picture or grey, which all lie at one place of it."""
    import struct

    tile = (np.full((256, 256, 3), 77, np.uint8) if picture is None else picture).tobytes()
    num = side * side
    places, sizes = 16 + len(tile), 16 + len(tile) + 8 * num
    tags = [  # code, type (3 short, 4 long, 16 long of 8 bytes), count, value or its place
        (256, 4, 1, 256 * side),
        (257, 4, 1, 256 * side),
        (258, 3, 3, 8 | 8 << 16 | 8 << 32),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        (322, 4, 1, 256),
        (323, 4, 1, 256),
        (324, 16, num, places),
        (325, 16, num, sizes),
    ]
    with path.open("wb") as stream:
        stream.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, sizes + 8 * num) + tile)
        np.full(num, 16, np.uint64).tofile(stream)
        np.full(num, len(tile), np.uint64).tofile(stream)
        stream.write(struct.pack("<Q", len(tags)))
        for tag in tags:
            stream.write(struct.pack("<HHQQ", *tag))
        stream.write(struct.pack("<Q", 0))


def swapped_profile():
    """An ICC profile that no test passes by chance: red and green swapped, gamma 1.8."""
    import struct

    def xyz(*values):
        return struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in values))

    gamma = struct.pack(">4s4xIH2x", b"curv", 1, round(1.8 * 256))
    primaries = ((0.3851, 0.7169, 0.0971), (0.4361, 0.2225, 0.0139), (0.1431, 0.0606, 0.7141))
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), (xyz(*one) for one in primaries), strict=True))
    tags |= {b"wtpt": xyz(0.9642, 1, 0.8249), b"rTRC": gamma, b"gTRC": gamma, b"bTRC": gamma}
    place = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, place + len(content), len(data))
        content += data
    size, version = place + len(content), 0x02100000
    head = struct.pack(">I4xI4s4s4s12x4s", size, version, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    white = struct.pack(">3i", *(round(value * 65536) for value in (0.9642, 1, 0.8249)))
    return (head.ljust(68, b"\0") + white).ljust(128, b"\0") + table + content


def write_qptiff(path, levels, channels=()):
    """PerkinElmer's order: the finest level, a thumbnail, the other levels, an overview, a label.

    With `channels`, names and colours (R,G,B), each level is a grey page for each of them.
    """

    def describe(kind, name="", colour=""):
        facts = {"ImageType": kind, "Name": name, "Color": colour}
        inside = "".join(f"<{key}>{value}</{key}>" for key, value in facts.items() if value)
        root = "PerkinElmer-QPI-ImageDescription"
        return f'<?xml version="1.0" encoding="utf-16"?><{root}>{inside}</{root}>'

    options = {"software": "PerkinElmer-QPI", "metadata": None}
    options |= {"resolution": (40_000, 40_000), "resolutionunit": "CENTIMETER"}
    beside = np.ascontiguousarray(levels[0][::7, ::7])
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            kind = "ReducedResolution" if index else "FullResolution"
            for name, colour in channels:
                facts = describe(kind, name, colour)
                page = np.ascontiguousarray(level[..., 0])
                tiff.write(page, tile=(64, 64), description=facts, **options)
            if not channels:
                facts = describe(kind)
                tiff.write(level, tile=(64, 64), photometric="rgb", description=facts, **options)
            if index == 0:
                tiff.write(beside, photometric="rgb", description=describe("Thumbnail"), **options)
        for kind in ("Overview", "Label"):
            tiff.write(beside[::2], photometric="rgb", description=describe(kind), **options)


def write_aperio(path, levels, **more):
    """Aperio's order: the finest level, a thumbnail, then the other levels."""
    facts = {"description": "Aperio Image Library v1\r\n |AppMag = 40|MPP = 0.25", "metadata": None}
    facts |= more
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            tiff.write(level, tile=(64, 64), photometric="rgb", **facts)
            if index == 0:
                tiff.write(levels[-1], photometric="rgb", **facts)


def write_planar(path, levels):
    planes = [np.ascontiguousarray(np.moveaxis(level, -1, 0)) for level in levels]
    write_pyramid(path, planes, planarconfig="separate")


def write_series(path, levels):
    """A DICOM slide: a file for each level, the second not compressed."""
    for index, level in enumerate(levels):
        name = path.with_name(f"level{index}.dcm") if index else path
        write_dicom(name, level, instance=index, compress=index != 1)


WRITERS = {
    "aperio.svs": write_aperio,
    "vectra.qptiff": write_qptiff,
    "generic.tif": write_pyramid,
    "jpeg2000.tif": partial(
        write_pyramid, compression="jpeg2000", compressionargs={"reversible": True}
    ),
    "strips.tif": partial(write_pyramid, tile=None, rowsperstrip=16),
    "planar.tif": write_planar,
    "ome.tif": write_ome,
    "v2.zarr": write_zarr,
    "v3.zarr": partial(write_zarr, version=3),
    "slide.dcm": write_series,
}
KINDS = tuple(WRITERS)


def write_slide(kind, folder, levels):
    """A slide of a kind; the path to open."""
    WRITERS[kind](folder / kind, levels)
    return folder / kind


def write_scn(path, corner=(1024, 768), side=512, whole=4096, mpp=0.25, tissue=None):
    """A Leica SCN of a collection of `whole` pixels, scanned in a square at a corner.

    `tissue`, of `side` by `side` pixels, is what the scanner saw; noise where it is not given.
    """
    nm = round(mpp * 1000)
    rng = np.random.default_rng(0)
    if tissue is None:
        tissue = rng.normal((205, 150, 190), 12, (side, side, 3)).clip(0, 255).astype(np.uint8)
    half = np.ascontiguousarray(tissue[::2, ::2])
    macro = np.full((256, 256, 3), 240, np.uint8)

    def image(number, view, dimensions, lens):
        sizes = "".join(
            f'<dimension sizeX="{px}" sizeY="{px}" r="{r}" ifd="{ifd}"/>'
            for r, (px, ifd) in enumerate(dimensions)
        )
        width, left, top = view
        pixels = f'<pixels sizeX="{dimensions[0][0]}" sizeY="{dimensions[0][0]}">{sizes}</pixels>'
        shown = (
            f'<view sizeX="{width}" sizeY="{width}" offsetX="{left}" offsetY="{top}" spacingZ="0"/>'
        )
        light = "<illuminationSource>brightfield</illuminationSource>"
        settings = f"<objectiveSettings><objective>{lens}</objective></objectiveSettings>"
        settings += f"<illuminationSettings><numericalAperture>0.65</numericalAperture>{light}"
        return (
            f'<image name="image{number}" uuid="urn:uuid:{number}">'
            '<creationDate>2015-01-01T00:00:00Z</creationDate><device model="Leica SCN400" '
            f'version="1.5"/>{pixels}{shown}<scanSettings>{settings}</illuminationSettings>'
            "</scanSettings></image>"
        )

    images = image(0, (whole * nm, 0, 0), [(256, 0)], 1)
    view = (side * nm, corner[0] * nm, corner[1] * nm)
    images += image(1, view, [(side, 1), (side // 2, 2)], 40)
    xml = (
        '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01" '
        f'uuid="urn:uuid:8"><collection name="a" uuid="urn:uuid:9" sizeX="{whole * nm}" '
        f'sizeY="{whole * nm}" barcode="">{images}</collection></scn>'
    )
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        tiff.write(macro, description=xml, **options)
        for level, px in ((tissue, nm), (half, 2 * nm)):
            tiff.write(level, resolution=(1e7 / px, 1e7 / px), resolutionunit=3, **options)
