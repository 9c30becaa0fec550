"""Which guide a site gets: in place first, then the guide function, then the automatic one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from ..errors import GuideError
from ..graph import ModelGraph, Recorder, as_argument, ours_first
from ..model import Site
from . import automatic
from .factor import Factor, check_support, single_site
from .families import Families

AUTOMATIC = ("meanfield", "fullrank", "lowrank", "point", "amortized")


def check_guide(guide: Any) -> None:
    """A guide is a function, the name of an automatic one, or None."""
    if (
        guide is None
        or callable(guide)
        or isinstance(guide, Families)
        or (isinstance(guide, str) and guide in AUTOMATIC)
    ):
        return
    close = get_close_matches(str(guide), AUTOMATIC, 1)
    expected = f"one of {AUTOMATIC}, a function with the model's arguments, or None"
    raise GuideError(f"guide={guide!r}", expected, f"guide={close[0]!r}" if close else "guide=None")


class Assembly:
    """Gives latent sites their values while a model is recorded, and keeps the factors of q."""

    def __init__(self, guide: str | Callable | None, graph: ModelGraph, shapes: Mapping[str, tuple[int, ...]]):
        check_guide(guide)
        self.graph, self.guide = graph, guide
        self.factors: dict[str, Factor] = {}
        self._of_site: dict[str, Factor] = {}
        self._sites: dict[str, Site] = {}
        joint = guide in ("fullrank", "lowrank")
        self._joint = automatic.Joint(guide, graph, dict(shapes)) if joint else None
        self._amortized: Any = None

    def run_guide(self, recorder: Recorder, model: Callable, args: tuple, kwargs: Mapping[str, Any]) -> None:
        """Run a guide function; its sites become factors. For the amortised guide, look at what the model observes."""
        if self.guide == "amortized":
            from .amortized import Amortized

            self._amortized = Amortized()
            self._amortized.look(recorder, model, args, kwargs)
        if not callable(self.guide):
            return
        guided = Recorder(
            recorder.tape,
            self._from_guide,
            plate_sizes=recorder.plate_sizes,
            starts=recorder.starts,
            noise=recorder.noise,
            training=recorder.training,
        )
        guided.is_guide = True
        guided.run["seed"] = recorder.run["seed"]
        guided.rng, guided.parameters, guided.updates = recorder.rng, recorder.parameters, recorder.updates
        guided.plates, guided.indices, guided.ways = recorder.plates, recorder.indices, recorder.ways
        with guided, ours_first():
            self.guide(*map(as_argument, args), **{k: as_argument(v) for k, v in kwargs.items()})
        recorder.asked_training |= guided.asked_training
        recorder.of_guide = guided.networks
        self._sites = {s.name: s for s in guided.sites.values() if s.type == "sample"}
        observed = [s.name for s in self._sites.values() if s.is_observed]
        if observed:
            raise GuideError(
                f"an observed site '{observed[0]}' in the guide", "latent sites only", "remove obs=", site=observed[0]
            )

    def _from_guide(self, recorder: Recorder, site: Site) -> Any:
        if site.options.get("noise"):
            return self.own_noise(recorder, site)
        return self._add(single_site(recorder, site, site.fn, "guide function"), site)

    def _add(self, factor: Factor, site: Site) -> Any:
        self.factors[factor.name] = factor
        self._of_site[site.name] = factor
        return factor.values[site.name]

    def own_noise(self, recorder: Recorder, site: Site) -> Any:
        """The recorded value of a network's own noise: it has no density in the bound."""
        factor = automatic.own_noise(recorder, site)
        self.factors[factor.name] = factor
        return factor.draw

    def latent(self, recorder: Recorder, site: Site) -> Any:
        """The recorded value of a latent site of the model."""
        if site.options.get("noise"):
            return self.own_noise(recorder, site)
        if site.name in self._of_site:
            if site.guide is not None:
                raise GuideError(
                    "a site with guide= in place, named by the guide function too",
                    "one guide for each site",
                    "the guide function without this site, or the model without guide=",
                    site=site.name,
                )
            return self._add(check_support(self._of_site[site.name], site), site)
        if site.guide is not None:
            return self._add(check_support(single_site(recorder, site, site.guide, "in place"), site), site)
        if site.name in self.graph.summed_out:
            return self._add(automatic.from_prior(recorder, site), site)
        if callable(self.guide):
            raise GuideError(
                f"a guide with sites {sorted(self._of_site) or 'none'}",
                f"one for the latent site '{site.name}' too",
                _did_you_mean(site.name, self._of_site),
                site=site.name,
            )
        if isinstance(self.guide, Families):
            factor = self.guide.factor(recorder, site)
            if factor is not None:
                return self._add(factor, site)
        if self._joint is not None and site.name in self._joint.slices:
            return self._add(self._joint.latent(recorder, site), site)
        if self._amortized is not None:
            return self._add(self._amortized.factor(recorder, site), site)
        family = automatic.point if self.guide == "point" else automatic.mean_field
        return self._add(family(recorder, site), site)

    def names(self, site: str) -> bool:
        """Does the guide function draw this site, or has the guide of closed-form updates a family for it?"""
        return site in self._of_site or (isinstance(self.guide, Families) and self.guide.find(site) is not None)

    def check(self) -> None:
        """A guide must not draw sites that the model does not have."""
        latent = {n.name for n in self.graph.of_kind("latent")}
        for name in self._of_site:
            if name not in latent:
                raise GuideError(
                    f"a guide site '{name}'",
                    f"latent sites of the model: {sorted(latent)}",
                    _did_you_mean(name, latent),
                    site=name,
                )


def _did_you_mean(name, known):
    close = get_close_matches(name, list(known), 1)
    return f"'{close[0]}': is it misspelt?" if close else "the same name in model and guide"
