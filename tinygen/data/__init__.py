"""Image sets as one uint8 tensor, their captions, and batches of them made on the device."""

from tinygen.data.batches import Batch, Batches, CachedBatches, augment, seeded_generator
from tinygen.data.captions import FACTOR_NAMES, caption_of, parse_caption
from tinygen.data.catalog import DATA_SETS, describe, load
from tinygen.data.faces import face_caption, generate_faces
from tinygen.data.imageset import ImageSet, to_float, to_uint8
from tinygen.data.meadow import generate_meadow
from tinygen.data.shapes import generate_shapes, random_prompts

__all__ = ["Batch", "Batches", "CachedBatches", "DATA_SETS", "FACTOR_NAMES", "ImageSet", "augment", "caption_of",
           "describe", "face_caption", "generate_faces", "generate_meadow", "generate_shapes", "load", "parse_caption",
           "random_prompts", "seeded_generator", "to_float", "to_uint8"]
