"""Topics in text: latent Dirichlet allocation on a small corpus, and on half of it at a time.

Every document mixes topics, every topic is a distribution over words; which topic a word came from is
a discrete site. All three have closed-form updates. The second fit sees minibatches of documents: the
same updates, as natural gradients with falling steps.

To learn here:

- gathers both ways: `theta[doc]` by data, `phi[z]` by a latent site;
- documents of one length stand in nested plates, so that whole documents can be subsampled.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

KINDS = {
    "music": "violin piano chord melody concert rhythm choir",
    "cooking": "flour butter oven salt onion recipe pepper",
    "sailing": "anchor mast harbour wind keel tide captain",
}
VOCABULARY = sorted(w for words in KINDS.values() for w in words.split())
DOCUMENTS, LENGTH, TOPICS = 60, 40, 3


def generate(seed=0):
    """Word numbers, one row for each document: each is mostly of one kind."""
    rng = np.random.default_rng(seed)
    number = {w: i for i, w in enumerate(VOCABULARY)}
    kinds = [[number[w] for w in words.split()] for words in KINDS.values()]
    mix = rng.dirichlet(np.full(3, 0.3), DOCUMENTS)
    return np.array([[rng.choice(kinds[rng.choice(3, p=p)]) for _ in range(LENGTH)] for p in mix]), mix


def topics(words, size=None):
    with ppl.plate("topics", TOPICS):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(len(VOCABULARY), 0.1)))
    with ppl.plate("documents", len(words), subsample_size=size, dim=-2) as i:
        theta = ppl.sample("theta", dist.Dirichlet(np.full(TOPICS, 0.3)))
        with ppl.plate("words", words.shape[1], dim=-1):
            z = ppl.sample("z", dist.Categorical(theta))
            ppl.sample("w", dist.Categorical(phi[z]), obs=words[i])


def best_words(fit, count=7):
    """The most probable words of every topic."""
    order = np.argsort(-fit.params["phi.concentration"], axis=1)[:, :count]
    return [sorted(VOCABULARY[i] for i in row) for row in order]


def main():
    words, _ = generate()
    whole = ppl.infer(topics, words, algorithm="cavi", progress=False)
    halves = ppl.infer(topics, words, size=30, algorithm=ppl.SVI(steps=200), progress=False)
    for name, fit in (("all documents", whole), ("30 documents at a time", halves)):
        print(f"{name}: bound {fit.elbo:.1f}")
        for row in best_words(fit):
            print(f"  {' '.join(row)}")
    return {"whole": whole, "halves": halves, "words": [best_words(whole), best_words(halves)]}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    main()
