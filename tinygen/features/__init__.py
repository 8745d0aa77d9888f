"""Two small classifiers, different in kind and in weights: one for perceptual losses, the other for judging only."""

from .classifier import Classifier
from .objective import ClassifierObjective
from .perceptual import PerceptualLoss

__all__ = ["Classifier", "ClassifierObjective", "PerceptualLoss"]
