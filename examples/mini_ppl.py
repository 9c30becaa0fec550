"""The whole idea of a probabilistic program and its variational posterior, on one page, from scratch.

    model function --run--> trace of sites --guide--> bound with noise as input --gradient--> Adam

Only NumPy and autograd are used here; nothing is imported from `ppl`. The library does the same with
plates, many families, exact terms and compiled programs. This page has five parts: families, sites, the
guide, the bound, the optimizer. Read it from top to bottom.
"""

import autograd.numpy as np
import numpy
from autograd import grad
from autograd.scipy.special import expit
from autograd.tracer import getval


# 1. Families.  A family knows its log density and its support; the support decides what guide fits.
class Normal:
    support = "real"

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale
        self.shape = np.broadcast_shapes(np.shape(loc), np.shape(scale))

    def log_prob(self, x):
        return -0.5 * ((x - self.loc) / self.scale) ** 2 - np.log(self.scale) - 0.5 * np.log(2 * np.pi)


class Exponential:
    support = "positive"

    def __init__(self, rate):
        self.rate, self.shape = rate, np.shape(rate)

    def log_prob(self, x):
        return np.log(self.rate) - self.rate * x


class Bernoulli:
    support = "binary"

    def __init__(self, probs):
        self.probs, self.shape = probs, np.shape(probs)

    def log_prob(self, x):
        return np.where(x == 1, np.log(self.probs), np.log1p(-self.probs))


# 2. Sites.  `sample` is the one word of the language. What it means depends on who is listening: the
#    listener picks the value of a latent site and keeps log p(value | what came before).
class Trace:
    """Listens while a model runs in its `with` block; `choose(name, family)` picks latent values."""

    listening = None

    def __init__(self, choose):
        self.choose, self.families, self.log_p = choose, {}, 0.0

    def __enter__(self):
        Trace.listening = self
        return self

    def __exit__(self, *_):
        Trace.listening = None


def sample(name, family, obs=None):
    trace = Trace.listening
    if obs is None:
        trace.families[name] = family
    value = trace.choose(name, family) if obs is None else obs
    trace.log_p = trace.log_p + np.sum(family.log_prob(value))
    return value


# 3. The guide q.  Every latent gets a factor of its own (mean field). Continuous ones are Normal on the
#    unconstrained axis: the value itself, or its logarithm where it must be positive. A switch keeps a
#    Bernoulli. Parameters are unconstrained too, so that the optimizer may walk anywhere.
def initial_guide(model, data):
    """Run the model once, on dull values, only to learn which sites there are."""
    with Trace(lambda name, family: np.full(family.shape, 1.0)) as trace:
        model(*data)
    params = {}
    for name, family in trace.families.items():
        if family.support == "binary":
            params[name + ".logit"] = np.zeros(family.shape)
        else:
            params[name + ".loc"], params[name + ".log_scale"] = np.zeros(family.shape), np.full(family.shape, -2.0)
    return params, trace.families


def draw_noise(families, rng):
    """Randomness is made outside and handed in. Then the bound is a plain function of the parameters."""
    return {
        n: rng.random(f.shape) if f.support == "binary" else rng.standard_normal(f.shape) for n, f in families.items()
    }


def draw_value(name, support, params, noise):
    """A value of one site; log q of it; and the part of log q that must enter as a score."""
    if support == "binary":
        # A step from 0 to 1: its derivative in the logit is zero or infinite, hence useless.
        q = Bernoulli(expit(params[name + ".logit"]))
        value = (noise < getval(q.probs)).astype(float)
        log_q = np.sum(q.log_prob(value))
        return value, log_q, log_q
    # loc + scale * noise moves smoothly with the parameters: differentiate right through it.
    q = Normal(params[name + ".loc"], np.exp(params[name + ".log_scale"]))
    u = q.loc + q.scale * noise
    if support == "real":
        return u, np.sum(q.log_prob(u)), 0.0
    # x = exp(u): the density of x is that of u divided by dx/du = x.
    return np.exp(u), np.sum(q.log_prob(u) - u), 0.0


# 4. The bound.  ELBO = E_q[log p(data, z) - log q(z)], at most log p(data); the gap is KL(q || posterior).
def one_draw(model, data, params, noise):
    """log p - log q at one draw from q, and log q of the draws that are held constant."""
    log_q, score = [], []

    def choose(name, family):
        value, lq, s = draw_value(name, family.support, params, noise[name])
        log_q.append(lq)
        score.append(s)
        return value

    with Trace(choose) as trace:
        model(*data)
    return trace.log_p - sum(log_q), sum(score)


def surrogate(model, data, params, noises):
    """A number whose gradient estimates the gradient of the ELBO without bias.

    Through smooth draws the gradient is that of the draw's own bound. Through switches it is

        E[(bound - baseline) * d log q],    as E[d log q] = 0 for any baseline of other draws.

    The baseline is the mean bound of the other particles: it costs nothing and removes most noise.
    """
    bounds, scores = zip(*(one_draw(model, data, params, noise) for noise in noises), strict=True)
    held = numpy.array([getval(b) for b in bounds])
    k = len(held)
    weights = (held - held.mean()) * k / (k - 1)  # = bound - mean of the others
    return sum(b + w * s for b, w, s in zip(bounds, weights, scores, strict=True)) / k


# 5. The optimizer.  Adam with a falling step; the average of the later iterates is the answer.
def infer(model, *data, steps=500, particles=4, rate=0.1, seed=0, draws=400):
    """Fit the guide; returns its parameters, the bound there, and the bound's standard error."""
    rng = numpy.random.default_rng(seed)
    params, families = initial_guide(model, data)
    gradient = grad(lambda p, noises: surrogate(model, data, p, noises))
    first, second, average = ({n: np.zeros_like(x) for n, x in params.items()} for _ in range(3))
    for t in range(1, steps + 1):
        g = gradient(params, [draw_noise(families, rng) for _ in range(particles)])
        step = rate * (1.0 - t / (steps + 1.0)) ** 0.5
        for n in params:
            first[n] = 0.9 * first[n] + 0.1 * g[n]
            second[n] = 0.99 * second[n] + 0.01 * g[n] ** 2
            rise = (first[n] / (1 - 0.9**t)) / (np.sqrt(second[n] / (1 - 0.99**t)) + 1e-8)
            params[n] = params[n] + step * rise
            if t > steps // 2:
                average[n] = average[n] + params[n] / (steps - steps // 2)
    bounds = [one_draw(model, data, average, draw_noise(families, rng))[0] for _ in range(draws)]
    return average, numpy.mean(bounds), numpy.std(bounds) / draws**0.5


# Two models to try it on: a mean and a scale; a line through points some of which are wrong.
Y = numpy.array([1.2, 0.4, 2.3, 1.9, 0.8, 1.5])
LINE_X = numpy.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
LINE_Y = numpy.array([-3.1, -0.8, 1.2, 9.0, 4.7, 7.2])


def mean_and_scale(y):
    mu = sample("mu", Normal(0.0, 5.0))
    sigma = sample("sigma", Exponential(1.0))
    sample("y", Normal(mu, sigma), obs=y)


def line_with_outliers(x, y):
    slope = sample("slope", Normal(0.0, 5.0))
    wrong = sample("wrong", Bernoulli(0.2 * np.ones(len(x))))
    sample("y", Normal(1.0 + slope * x, np.where(wrong == 1, 8.0, 1.0)), obs=y)


def main():
    results = {}
    for model, data in ((mean_and_scale, (Y,)), (line_with_outliers, (LINE_X, LINE_Y))):
        params, bound, error = infer(model, *data)
        print(f"{model.__name__}: ELBO {bound:.2f} (s.e. {error:.2f})")
        for name, value in params.items():
            print(f"  {name:16} {numpy.array2string(value, precision=3, suppress_small=True)}")
        results[model.__name__] = {"params": params, "elbo": bound, "error": error}
    return results


if __name__ == "__main__":
    main()
