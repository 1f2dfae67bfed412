"""Probes to start with: laws of the optics, of the pupil, of modes, and of what is typed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ptychopinn as pp
from ptychopinn.data.normalization import mean_pattern
from ptychopinn.data.orientation import Orientation
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.physics.forward import vacuum_pattern
from ptychopinn.physics.propagators import HC, focus, free_space, pupil_of, resampled, wavelength_of
from ptychopinn.probes import make_start_probe, with_modes
from ptychopinn.probes.inherited import inherited_probe
from ptychopinn.probes.pupils import find_pupil
from ptychopinn.probes.recipes import KINDS, read_recipe
from ptychopinn.probes.search import find_probe

N, PIXEL, ENERGY = 64, 20e-9, 8800.0
EXAMPLES = {
    "fzp": "fzp:diameter=180um,zone=60nm,stop=60um,defocus=0.1mm",
    "kb": "kb:na_y=0.0008,na_x=0.0012,defocus=0.1mm",
    "gaussian": "gaussian:fwhm=12px",
    "disc": "disc:diameter=0.3um",
    "electron": "electron:kv=200,alpha=20mrad,defocus=-50nm,pixel=0.4A",
    "auto": "auto",
}


@pytest.fixture(scope="module")
def pattern() -> np.ndarray:
    """A ring of light around [N/2, N/2] with 1e5 counts."""
    u = np.arange(N) - N // 2
    radius = np.hypot(u[:, None], u)
    ring = ((radius < 11) & (radius > 4)) + 1e-4
    return 1e5 * ring / ring.sum()


def made(spec: str, pattern: np.ndarray) -> np.ndarray:
    return make_start_probe(spec, pattern, N, PIXEL, ENERGY)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind_has_the_power_of_the_patterns(kind: str, pattern: np.ndarray) -> None:
    probe = made(EXAMPLES[kind], pattern)
    assert probe.shape == (1, N, N) and probe.dtype == np.complex64
    assert (np.abs(probe) ** 2).sum() == pytest.approx(1e5, rel=1e-5)
    assert set(EXAMPLES) == {*KINDS, "auto"}


def test_a_zone_plate_lights_up_a_ring_on_the_detector(pattern: np.ndarray) -> None:
    """Its edge at NA / lambda = 1 / (2 dr) cycles per metre, whatever the defocus."""
    lit = vacuum_pattern(made(EXAMPLES["fzp"], pattern))
    inside = lit > 0.5 * np.median(lit[lit > 1])
    edge = N * PIXEL / (2 * 60e-9)
    assert inside.sum() == pytest.approx(np.pi * edge**2 * (1 - 1 / 9), rel=0.05)
    assert not inside[N // 2, N // 2] and inside[N // 2, N // 2 + round(0.7 * edge)]


def test_a_lens_is_sharpest_in_its_focus(pattern: np.ndarray) -> None:
    def size(defocus: str) -> float:
        probe = made(f"fzp:diameter=180um,zone=60nm,defocus={defocus}", pattern)[0]
        power = np.abs(probe) ** 2
        assert np.argmax(power) == (N // 2) * (N + 1) or defocus != "0"
        return float(power.max())

    assert size("0") > size("0.05mm") > size("0.2mm")
    assert size("0.05mm") == pytest.approx(size("-50um"), rel=1e-3)
    assert size("0") == pytest.approx(size("0nm"))


def test_the_sign_of_defocus_is_that_of_the_way_along_the_beam(pattern: np.ndarray) -> None:
    near, far = (made(f"disc:diameter=20px,defocus={d}", pattern)[0] for d in ("1um", "21um"))
    spectrum = free_space(pupil_of(near), PIXEL, HC / ENERGY, 20e-6)
    np.testing.assert_allclose(focus(spectrum), far, atol=1e-3 * np.abs(far).max())


def test_free_space_can_be_gone_back(pattern: np.ndarray) -> None:
    there = free_space(pupil_of(made(EXAMPLES["kb"], pattern)), PIXEL, HC / ENERGY, 1e-4)
    back = focus(free_space(there, PIXEL, HC / ENERGY, -1e-4))
    np.testing.assert_allclose(back, made(EXAMPLES["kb"], pattern), atol=1e-4)


@pytest.mark.parametrize(
    "kv, picometres", [(60, 4.8661), (80, 4.1757), (200, 2.5079), (300, 1.9687)]
)
def test_the_wavelength_of_electrons_is_relativistic(kv: float, picometres: float) -> None:
    assert 1e12 * wavelength_of(1e3 * kv, electrons=True) == pytest.approx(picometres, abs=1e-4)


def test_electrons_fill_their_aperture(pattern: np.ndarray) -> None:
    lit = vacuum_pattern(made(EXAMPLES["electron"], pattern))
    edge = N * 0.4e-10 * 20e-3 / wavelength_of(2e5, electrons=True)
    assert (lit > 0.5 * np.median(lit[lit > 1])).sum() == pytest.approx(np.pi * edge**2, rel=0.05)


def test_mirrors_fill_a_rectangle(pattern: np.ndarray) -> None:
    lit = vacuum_pattern(made(EXAMPLES["kb"], pattern))
    bright = lit > 0.5 * lit.max()
    height, width = (bright.any(axis=1 - axis).sum() for axis in (0, 1))
    for count, na in ((height, 0.0008), (width, 0.0012)):
        assert count == pytest.approx(2 * N * PIXEL * na / (HC / ENERGY), abs=1.5)
    same = made("kb:aperture_y=320um,focal_y=0.2,na_x=0.0012,defocus=0.1mm", pattern)
    np.testing.assert_allclose(same, made(EXAMPLES["kb"], pattern), atol=1e-4)


def test_the_width_of_a_gaussian_is_that_of_its_intensity(pattern: np.ndarray) -> None:
    line = np.abs(made("gaussian:fwhm=12px", pattern)[0, N // 2]) ** 2
    assert line[N // 2 + 6] == pytest.approx(line[N // 2] / 2, rel=1e-3)
    metres = made("gaussian:fwhm=240nm", pattern)
    np.testing.assert_allclose(metres, made("gaussian:fwhm=12px", pattern), atol=1e-4)


def test_units_are_those_of_the_lab() -> None:
    texts = ("180um", "180µm", "180μm", "0.18mm", "1.8e-4", "180000nm", "1.8e-4m")
    found = [read_recipe(f"fzp:diameter={t},zone=50nm").number("diameter") for t in texts]
    np.testing.assert_allclose(found, 180e-6)
    electron = read_recipe("electron:kv=200kV,alpha=20mrad")
    assert electron.number("kv") == 200 and electron.number("alpha") == pytest.approx(0.02)


def test_an_unknown_pixel_is_told_by_the_pupil(pattern: np.ndarray) -> None:
    probe = make_start_probe("fzp:diameter=180um,zone=60nm,energy=8.8keV", pattern, N)
    assert find_pupil(vacuum_pattern(probe)).radius == pytest.approx(
        find_pupil(pattern).radius, abs=1
    )


@pytest.mark.parametrize("spec, words", [
    ("fzp:diameter=180um", "needs zone.*keys of fzp are diameter, zone, defocus, stop"),
    ("fzp:diameter=180um,zone=50nm,focus=1", "received 'focus=1'.*keys of fzp are"),
    ("fzp:diameter=180um,zone=50nm,zone=50nm", "twice"),
    ("fzp:diameter=180lightyears,zone=50nm", "of the probe fzp must be a number with a unit"),
    ("fzp:diameter=-1um,zone=50nm", "must be positive"),
    ("fzp:diameter=20um,zone=50nm,stop=30um", "stop of the probe fzp must be smaller"),
    ("fzp:diameter=180um,zone=50nm,defocus=30mm", "must fit into its array"),
    ("fzp:diameter=180um,zone=5nm", "must fit on the detector"),
    ("fzp", "needs diameter and zone"),
    ("kb:defocus=1mm", "needs na, na_y, or aperture_y and focal_y"),
    ("gaussian:fwhm=20", "between 1 and 64 px.*write 20px or 1um"),
    ("disc:diameter=900px", "between 1 and 64 px"),
    ("electron:kv=200", "needs alpha"),
    ("zoneplate:diameter=1um", "auto, the folder of a result, FILE.*'zoneplate:"),
])  # fmt: skip
def test_what_is_no_probe_is_one_sentence(spec: str, words: str, pattern: np.ndarray) -> None:
    with pytest.raises(pp.InputError, match=words) as caught:
        made(spec, pattern)
    assert "\n" not in str(caught.value)


def test_what_nobody_knows_is_asked_for(pattern: np.ndarray) -> None:
    with pytest.raises(pp.InputError, match=r"photon energy.*add energy="):
        make_start_probe(EXAMPLES["fzp"], pattern, N, PIXEL)
    with pytest.raises(pp.InputError, match=r"size of an object pixel.*sizes in px"):
        make_start_probe("disc:diameter=1um", pattern, N)
    with pytest.raises(pp.InputError, match="without counts"):
        make_start_probe("auto", 0 * pattern, N)


def test_added_modes_are_orthogonal_and_keep_the_power(pattern: np.ndarray) -> None:
    probe = made(EXAMPLES["fzp"], pattern)
    modes = with_modes(probe, 3)
    gram = np.einsum("pyx,qyx->pq", modes.conj(), modes)
    powers = np.diagonal(gram).real
    assert powers.sum() == pytest.approx(1e5, rel=1e-4)
    np.testing.assert_allclose(powers / powers.sum(), [0.86, 0.07, 0.07], atol=1e-4)
    np.testing.assert_allclose(gram - np.diag(powers), 0, atol=1e-2)
    np.testing.assert_allclose(modes[0], probe[0] * np.sqrt(0.86), rtol=1e-3, atol=1e-3)
    more = with_modes(modes, 5)
    assert (np.abs(more) ** 2).sum() == pytest.approx(1e5, rel=1e-4)
    gram = np.einsum("pyx,qyx->pq", more.conj(), more)
    np.testing.assert_allclose(gram - np.diag(np.diagonal(gram)), 0, atol=1e-2)
    with pytest.raises(pp.InputError, match="at least the 3 that the probe has, received 2"):
        with_modes(modes, 2)


def test_resampling_keeps_the_field_and_its_power(pattern: np.ndarray) -> None:
    field = made("gaussian:fwhm=12px", pattern)
    np.testing.assert_allclose(resampled(field, 1.0, N), field, atol=1e-3)
    finer = resampled(field, 0.5, 2 * N)
    np.testing.assert_allclose(finer[:, ::2, ::2], field, atol=1e-3)
    assert (np.abs(finer) ** 2).sum() / 4 == pytest.approx((np.abs(field) ** 2).sum(), rel=1e-3)
    np.testing.assert_allclose(resampled(finer, 2.0, N), field, atol=1e-2)


@pytest.mark.parametrize("stop", [0.0, 0.4])
def test_the_pupil_is_in_the_mean_pattern(stop: float) -> None:
    scan = pp.simulate(patterns=64, photons=1e5, diameter=0.5, central_stop=stop, seed=1)
    pupil = find_pupil(mean_pattern(scan))
    assert pupil.radius == pytest.approx(16, abs=2)
    assert pupil.stop == pytest.approx(16 * stop, abs=2)
    assert np.abs(pupil.centre).max() < 1


@pytest.mark.parametrize("defocus", [0.35, -0.35])
def test_the_search_finds_the_sign_of_the_defocus(defocus: float) -> None:
    scan = pp.simulate(object="leaves", patterns=100, photons=1e5, defocus=defocus, seed=5)
    found = find_probe(NumpyOps(), replace(scan, object=None))
    assert np.sign(found.waves[0]) == np.sign(defocus)
    assert found.spot_px == pytest.approx(0.35 * 64, rel=0.35)
    assert found.residual < 0.6 * found.flat


def test_the_middle_of_the_detector_need_not_count() -> None:
    scan = pp.simulate(
        object="leaves", N=32, patterns=81, photons=1e6, step_px=3.0, beam_stop_px=1, seed=5
    )
    assert scan.mask is not None and not scan.mask[16, 16]
    found = find_probe(NumpyOps(), replace(scan, object=None))
    assert likeness(found.probe, scan.probe[0]) > 0.9


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """The correlation of two probes, wherever they are."""
    product = np.fft.fft2(one) * np.fft.fft2(other).conj()
    return float(abs(np.fft.ifft2(product)).max() / np.linalg.norm(one) / np.linalg.norm(other))


def test_the_probe_of_a_faint_scan_is_found_as_well() -> None:
    """64 patterns for three passes, as of a bright one, leave 0.78."""
    scan = pp.simulate(object="leaves", N=32, patterns=144, photons=300, seed=4)
    found = find_probe(NumpyOps(), replace(scan, object=None))
    assert likeness(found.probe, scan.probe[0]) > 0.9


def result_of(scan: pp.Scan, folder: Path) -> Path:
    folder.mkdir()
    pp.refine(scan, None, pp.RefineConfig(passes=1), backend="numpy", no_mend="all").save(folder)
    return folder


def test_the_probe_of_a_result_goes_where_the_sample_is(tmp_path: Path) -> None:
    scan = pp.simulate(
        patterns=16, photons=1e5, pixel_size_m=PIXEL, energy_eV=ENERGY, distance_m=2.0
    )
    path = result_of(scan, tmp_path / "one")
    same, details = inherited_probe(path, N, PIXEL, ENERGY, 2.0)
    np.testing.assert_allclose(same, scan.probe, atol=1e-3)
    assert set(details) == {"result"}
    moved, details = inherited_probe(path, N, PIXEL, ENERGY, 2.0 - 3e-4)
    assert details["moved_m"] == pytest.approx(3e-4)
    wanted = focus(free_space(pupil_of(scan.probe), PIXEL, HC / ENERGY, 3e-4))
    np.testing.assert_allclose(moved, wanted, atol=1e-3 * np.abs(wanted).max())
    # The detector was moved: the sample stays in the beam.
    assert set(inherited_probe(path, N, PIXEL, ENERGY, 1.0)[1]) == {"result"}
    smaller, details = inherited_probe(path, 32, 2 * PIXEL, ENERGY, 2.0)
    assert smaller.shape == (1, 32, 32)
    np.testing.assert_allclose(smaller[0, 16, 16], same[0, 32, 32], rtol=0.1)
    with pytest.raises(pp.InputError, match="same photon energy"):
        inherited_probe(path, N, PIXEL, 2 * ENERGY, 2.0)
    with pytest.raises(pp.InputError, match="needs the object pixel of both"):
        inherited_probe(path, 32, None, ENERGY, 2.0)


def test_arrays_need_no_probe() -> None:
    truth = pp.simulate(object="leaves", patterns=100, photons=1e5, seed=5)
    scan = pp.Scan.from_arrays(truth.diffraction, truth.positions_px, "auto", modes=2)
    assert scan.probe.shape == (2, N, N)
    (found,) = scan.provenance["findings"]
    assert (found["name"], found["level"]) == ("probe-from-nothing", "mended")
    assert found["details"]["pupil_diameter_px"] == pytest.approx(24, abs=4)
    assert (np.abs(scan.probe) ** 2).sum() == pytest.approx(found["details"]["counts"], rel=1e-4)


def test_a_description_that_contradicts_the_patterns_is_doubted() -> None:
    truth = pp.simulate(patterns=64, photons=1e5, seed=5)
    scan = pp.Scan.from_arrays(truth.diffraction, truth.positions_px, "gaussian:fwhm=20px")
    (found,) = scan.provenance["findings"]
    assert found["level"] == "doubt" and "in common with the mean pattern" in found["message"]


def test_the_near_field_shows_no_pupil() -> None:
    near = pp.simulate(patterns=64, photons=1e5, propagator="near-field")
    with pytest.raises(pp.InputError, match="needs a far-field scan"):
        pp.Scan.from_arrays(
            near.diffraction, near.positions_px, "auto", propagation="near-field",
            pixel_size_m=near.pixel_size_m, energy_eV=near.energy_eV, distance_m=near.distance_m,
        )  # fmt: skip


def test_coma_is_found_with_the_defocus() -> None:
    """Without it another defocus leaves less."""
    scan = pp.simulate(object="leaves", N=32, patterns=64, photons=1e5, coma=0.2, seed=3)
    found = find_probe(NumpyOps(), replace(scan, object=None))
    assert likeness(found.probe, scan.probe[0]) > 0.97
    assert np.hypot(*found.waves[3:]) > 0.1


def test_a_round_of_the_search_does_not_leave_the_right_focus_behind() -> None:
    """Of a Siemens star, 1.3 wavelengths with coma leave less than 0.4 without from the second
    round on."""
    scan = pp.simulate(
        object="siemens", patterns=81, photons=5e4, step_px=8.05, seed=7, jitter_px=0.5
    )
    found = find_probe(NumpyOps(), replace(scan, object=None))
    assert likeness(found.probe, scan.probe[0]) > 0.9
    assert found.waves[0] > 1


def test_turned_positions_are_told_once_coma_is_known() -> None:
    """The turned ones leave 0.88 of what the given ones do at the best defocus, a third after."""
    scan = pp.simulate(
        object="natural", N=32, patterns=100, photons=1e6, step_px=3.0, seed=22, jitter_px=0.5
    )
    turned = np.ascontiguousarray(scan.positions_px[:, ::-1])
    found = find_probe(NumpyOps(), replace(scan, object=None, positions_px=turned))
    assert found.turn == Orientation(True)
    assert likeness(found.probe, scan.probe[0]) > 0.9
