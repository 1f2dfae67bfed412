"""Energy, distance and pixels of an experiment, and the pixel of the object that follows."""

from __future__ import annotations

from ptychopinn.data.experiment import Propagation, magnification
from ptychopinn.data.findings import Finding
from ptychopinn.errors import InputError
from ptychopinn.physics.propagators import wavelength_of
from ptychopinn.sources.base import Source
from ptychopinn.sources.experiment_numbers import check_plausible
from ptychopinn.sources.recipe import Recipe

REPLACED = "number-replaced"
# Two numbers for one thing agree within this.
SAME = 0.01
# Below, an electron microscope is not run for ptychography; above, hardly a beamline for X-rays.
ELECTRONS_FROM = 2e4


def numbers_of(source: Source, recipe: Recipe) -> dict[str, float | None]:
    """``energy_eV``, ``distance_m``, ``detector_pixel_m`` and, in the near field,
    ``focus_distance_m``, those of the recipe first.

    Raises
    ------
    InputError
        For a number that no experiment has.
    """
    near = propagation_of(source, recipe) == "near-field"
    if recipe.focus_distance_m is not None and not near:
        raise InputError(
            "a distance from the focus belongs to the near field, received focus_distance_m="
            f"{recipe.focus_distance_m:g} with the far field; give propagation='near-field', or "
            "leave it out."
        )
    values: dict[str, float | None] = {}
    names = ("energy_eV", "distance_m", "detector_pixel_m")
    for name in (*names, "focus_distance_m") if near else names:
        given = getattr(recipe, name)
        values[name] = source.numbers.get(name) if given is None else given
    where = {k: v for k, v in source.where.items() if getattr(recipe, k, None) is None}
    check_plausible(values, where)
    return values


def replaced_numbers(source: Source, recipe: Recipe) -> tuple[Finding, ...]:
    """What is said of numbers of the recipe that are others than those of the source."""
    found = []
    for name in ("energy_eV", "distance_m", "focus_distance_m", "detector_pixel_m"):
        given, own = getattr(recipe, name), source.numbers.get(name)
        if given is None or own is None or abs(given / own - 1) <= SAME:
            continue
        words = (
            f"{name}={given:.6g} is taken in place of {own:.6g}, which is in {source.where[name]}: "
            "leave it out, of a recipe too, if the file is right"
        )
        found.append(Finding(REPLACED, "doubt", words, {"name": name, "given": given, "own": own}))
    return tuple(found)


def propagation_of(source: Source, recipe: Recipe) -> Propagation:
    """How waves reach the detector: as the recipe says, else the source."""
    return recipe.propagation or source.propagation


def own_edge(source: Source) -> int | None:
    """The edge of the patterns to which the source's own object pixels belong, in detector pixels.

    That of its probe, where it has one; else that of square patterns; None where nothing tells.
    """
    if source.probe is not None and source.probe.ndim >= 2:
        return int(source.probe.shape[-1])
    _, height, width = source.patterns.shape
    return height if height == width and height % 2 == 0 else None


def of_electrons(source: Source, recipe: Recipe, energy: float | None) -> bool:
    """Whether the energy is that of electrons.

    Raises
    ------
    InputError
        When it must be told and neither the file nor the recipe does.
    """
    if recipe.particle is not None:
        return recipe.particle == "electron"
    if source.electrons is None and energy is not None and energy >= ELECTRONS_FROM:
        raise InputError(
            f"it must be known what the energy of {energy:.6g} eV is of, received a file that does "
            "not tell; give particle='electron' or particle='photon'."
        )
    return bool(source.electrons)


def object_pixel(
    source: Source,
    recipe: Recipe,
    numbers: dict[str, float | None],
    electrons: bool,
    edge: int,
    binning: int,
) -> float | None:
    """Object pixel in metres of patterns whose edge is so many detector pixels long, of which
    ``binning`` squared became one; None where too little is known.

    Raises
    ------
    InputError
        When the recipe's own contradicts energy, distance and detector, or is implausible.
    """
    energy, distance, pixel = (
        numbers[name] for name in ("energy_eV", "distance_m", "detector_pixel_m")
    )
    found = None
    if propagation_of(source, recipe) == "near-field":
        if distance and pixel:
            # The shadow of the object, which a cone beam magnifies.
            found = binning * pixel / magnification(distance, numbers["focus_distance_m"])
    elif energy and distance and pixel:
        found = wavelength_of(energy, electrons) * distance / (edge * pixel)
    elif source.sampling_1_m:
        found = 1 / (edge * source.sampling_1_m)
    elif source.angle_rad and energy:
        found = wavelength_of(energy, electrons) / (edge * source.angle_rad)
    elif "pixel_size_m" in source.numbers:
        own = own_edge(source)
        found = None if own is None else source.numbers["pixel_size_m"] * own / edge
    given = recipe.pixel_size_m
    if given is not None:
        if found is not None and abs(found / given - 1) > SAME:
            raise InputError(
                f"the pixel of the object must agree with energy, distance and detector, received "
                f"pixel_size_m={given:.6g} where they give {found:.6g} m; correct one of them."
            )
        return given
    check_plausible({"pixel_size_m": found}, {"pixel_size_m": "energy, distance and detector"})
    return found
