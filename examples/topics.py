"""Topics in text: latent Dirichlet allocation on a made-up corpus, on half of it at a time, and on real text.

Every document mixes topics, every topic is a distribution over words; which topic a word came from is
a discrete site. All three have closed-form updates. The second fit sees minibatches of documents: the
same updates, as natural gradients with falling steps. The real text is what `help()` says of Python's
own topics; Python carries it with it.

To learn here:

- gathers both ways: `theta[doc]` by data, `phi[z]` by a latent site;
- documents of one length stand in nested plates, so that whole documents can be subsampled; of several
  lengths, as real ones are, they are one long list of words with the number of the document beside it.
"""

import argparse
import re
from collections import Counter

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


def help_texts(fewest=4, share=0.4):
    """Words of Python's help topics: number of word and document for each, and the vocabulary."""
    from pydoc_data.topics import topics as texts

    documents = [re.findall(r"[a-z]{4,}", text.lower()) for text in texts.values()]
    documents = [d for d in documents if len(d) > 100]
    in_how_many = Counter(w for d in documents for w in set(d))
    kept = sorted(w for w, n in in_how_many.items() if fewest <= n <= share * len(documents))
    number = {w: i for i, w in enumerate(kept)}
    pairs = [(number[w], i) for i, d in enumerate(documents) for w in d if w in number]
    word, doc = np.array(pairs).T
    return word, doc, kept


def long_list(word, doc, vocabulary, count):
    with ppl.plate("topics", count):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(vocabulary, 0.05)))
    with ppl.plate("documents", int(doc.max()) + 1):
        theta = ppl.sample("theta", dist.Dirichlet(np.full(count, 0.1)))
    with ppl.plate("words", len(word)):
        z = ppl.sample("z", dist.Categorical(theta[doc]))
        ppl.sample("w", dist.Categorical(phi[z]), obs=word)


def distinctive(fit, vocabulary, count=8):
    """The words by which a topic differs most from all words, and the topic's share; the largest first."""
    phi = fit.params["phi.concentration"]
    phi = phi / phi.sum(1, keepdims=True)
    share = fit.params["z.probs"].mean(0)
    lift = phi * np.log(phi / (share @ phi))
    order = np.argsort(-share)
    return [(share[k], [vocabulary[i] for i in np.argsort(-lift[k])[:count]]) for k in order]


def best_words(fit, count=7):
    """The most probable words of every topic."""
    order = np.argsort(-fit.params["phi.concentration"], axis=1)[:, :count]
    return [sorted(VOCABULARY[i] for i in row) for row in order]


def main(plot=None):
    words, _ = generate()
    whole = ppl.infer(topics, words, algorithm="cavi", progress=False)
    halves = ppl.infer(topics, words, size=30, algorithm=ppl.SVI(steps=200), progress=False)
    for name, fit in (("all documents", whole), ("30 documents at a time", halves)):
        print(f"{name}: bound {fit.elbo:.1f}")
        for row in best_words(fit):
            print(f"  {' '.join(row)}")
    word, doc, vocabulary = help_texts()
    real = ppl.infer(long_list, word, doc, len(vocabulary), 8, algorithm=ppl.CAVI(tolerance=1e-6), progress=False)
    found = distinctive(real, vocabulary)
    print(f"{doc.max() + 1} help topics, {len(word)} words of {len(vocabulary)} kinds:")
    for share, row in found:
        print(f"  {share:4.0%}  {' '.join(row)}")
    if plot:
        draw(real, found, plot)
    words_found = [best_words(whole), best_words(halves)]
    return {"whole": whole, "halves": halves, "words": words_found, "real": real, "topics": found}


def draw(fit, found, path):
    """Which topics every document mixes."""
    import matplotlib.pyplot as plt

    theta = fit.params["theta.concentration"]
    theta = theta / theta.sum(1, keepdims=True)
    columns = np.argsort(-fit.params["z.probs"].mean(0))
    theta = theta[:, columns]
    rows = np.lexsort((-theta.max(1), theta.argmax(1)))
    figure, panel = plt.subplots(figsize=(7, 3.4), layout="constrained")
    panel.imshow(theta[rows].T, aspect="auto", cmap="Greys", vmin=0, vmax=1)
    panel.set_yticks(range(len(found)), [" ".join(row[:3]) for _, row in found])
    panel.set(xlabel="document", title="shares of the topics in each document")
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the documents' topics")
    main(**vars(parser.parse_args()))
