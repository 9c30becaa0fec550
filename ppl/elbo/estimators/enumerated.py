"""Enumerated: a finite site is summed out, so that neither its value nor the gradient has noise of its own.

    log sum over z of p(z) p(y | z, x)      in the place of      E_q(z)[log p(z) p(y | z, x) - log q(z)]

It is the bound of the best q(z | x) there is, its exact conditional. Elements of a plate go through their
states side by side, and chains and trees are eliminated site by site.
"""

from __future__ import annotations

from .record import Estimator

BUDGET = 5_000_000  # counted cost of a draw up to which sites are summed out, whatever the model costs
RATIO = 50  # times the cost of the model at one state
LIMIT = 1_000_000_000  # also where the user asks for it

WHY = "{states}, summed out exactly: counted cost {cost:,} a draw, {plain:,} at one state each"
COSTLY = "summing it out has a counted cost of {cost:,} a draw, more than {limit:,}"
TOGETHER = "it is read together with {others}: {states:.2g} joint states"
MEETING = "'{where}' reads elements of it together, which have {count}^{elements} joint states"
ENTANGLED = "sites of different plates are read together, in no order in which they could be summed out"
MINIBATCH = "a minibatch of plate '{plate}' stands inside the sum over its states, whose logarithm would be biased"
GUIDE = "the guide of '{site}' reads it"
SUPPORT = "the support of '{site}' moves with it"
STATES = "its states are not known: {family}"
ASKED = "asked for"
NAMED = "the guide function draws it"

ESTIMATOR = Estimator("enumerate", "enumerate", "a finite site is summed out, without noise")
