"""What a denoising network may predict, and how each prediction becomes any other.

Every one is a linear combination p = a x0 + b eps of the clean data and the noise. Together with
x_t = alpha x0 + sigma eps that is two equations in two unknowns, so one formula converts them all.
"""

from torch import Tensor

from ..errors import TinygenError, nearest

PREDICTIONS = ("eps", "x0", "v", "flow", "edm")


def check_prediction(prediction: str) -> str:
    """`prediction` itself; TinygenError with a suggestion if there is no such thing."""
    if prediction not in PREDICTIONS:
        raise TinygenError(f"unknown prediction {prediction!r}{nearest(prediction, PREDICTIONS)}")
    return prediction


def input_std(alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> Tensor:
    """The standard deviation of x_t where that of the data is sigma_data: alpha / c_in of arXiv:2206.00364, table 1."""
    return (sigma**2 + (alpha * sigma_data) ** 2) ** 0.5


def combination(prediction: str, alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> tuple[Tensor, Tensor]:
    """(a, b) of p = a x0 + b eps, shaped like alpha.

    eps: Ho et al. 2020, arXiv:2006.11239. v = alpha eps - sigma x0: Salimans and Ho 2022, arXiv:2202.00512.
    flow, the velocity eps - x0: Lipman et al. 2023, arXiv:2210.02747. edm, the F of x0 = c_skip x + c_out F:
    Karras et al. 2022, arXiv:2206.00364, with x_t / alpha and sigma / alpha for x and sigma: it serves any path.
    On a variance-preserving path with sigma_data = 1, edm is -v.
    """
    if check_prediction(prediction) == "edm":
        std = input_std(alpha, sigma, sigma_data)
        return sigma / (std * sigma_data), -alpha * sigma_data / std
    zero, one = 0 * alpha, 0 * alpha + 1
    return {"eps": (zero, one), "x0": (one, zero), "v": (-sigma, alpha), "flow": (-one, one)}[prediction]


def from_x0_eps(x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor, prediction: str,
                sigma_data: float = 1.0) -> Tensor:
    """The target of a network that predicts `prediction`: x0, eps (B, ...); alpha, sigma broadcast against them."""
    a, b = combination(prediction, alpha, sigma, sigma_data)
    return a * x0 + b * eps


def to_x0(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction: str,
          sigma_data: float = 1.0) -> Tensor:
    """x0 from a prediction at x_t; the noise prediction needs alpha > 0."""
    if prediction == "x0":
        return output
    a, b = combination(prediction, alpha, sigma, sigma_data)
    return (b * x_t - sigma * output) / (alpha * b - sigma * a)


def to_eps(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, prediction: str,
           sigma_data: float = 1.0) -> Tensor:
    """eps from a prediction at x_t; the x0 prediction needs sigma > 0."""
    if prediction == "eps":
        return output
    a, b = combination(prediction, alpha, sigma, sigma_data)
    return (alpha * output - a * x_t) / (alpha * b - sigma * a)


def convert(output: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor, source: str, target: str,
            sigma_data: float = 1.0) -> Tensor:
    """The same belief about x0, said as `target` instead of `source`."""
    x0 = to_x0(output, x_t, alpha, sigma, source, sigma_data)
    eps = to_eps(output, x_t, alpha, sigma, source, sigma_data)
    return from_x0_eps(x0, eps, alpha, sigma, target, sigma_data)


def x0_error_scale(prediction: str, alpha: Tensor, sigma: Tensor, sigma_data: float = 1.0) -> Tensor:
    """|error of x0| / |error of the prediction|, from x0 = (b x_t - sigma p) / (alpha b - sigma a)."""
    a, b = combination(prediction, alpha, sigma, sigma_data)
    return (sigma / (alpha * b - sigma * a)).abs()
