"""How good is a model? Distances, precision and recall, adherence, repetition; one protocol for all kinds."""

from .adherence import class_adherence, prompt_adherence
from .duplicates import duplicate_rate, memorisation
from .frechet import Gaussian, frechet_distance, kernel_distance, kernel_mmd2
from .inception import standard_fid
from .judging import Judged, judge_images, judge_set, reference_statistics
from .metrics import code_statistics, psnr, ssim
from .neighbours import nearest_neighbours
from .precision_recall import precision_recall
from .report import evaluate, print_report

__all__ = ["Gaussian", "Judged", "class_adherence", "code_statistics", "duplicate_rate", "evaluate", "frechet_distance",
           "judge_images", "judge_set", "kernel_distance", "kernel_mmd2", "memorisation", "nearest_neighbours",
           "precision_recall", "print_report", "prompt_adherence", "psnr", "reference_statistics", "ssim", "standard_fid"]
