"""A near-field scan: simulated, found by physics iterations that are watched, and scored."""

import ptychopinn as pp
from ptychopinn.data.normalization import prepare
from ptychopinn.ops.numpy import NumpyOps
from ptychopinn.solvers.physics import PhysicsSolver

scan = pp.simulate(
    object="leaves", seed=1, patterns=100, N=32, photons=1e6, propagator="near-field"
)
pp.save_scan(scan, "near_field.h5")
print(f"{scan.M} patterns over {scan.distance_m} m at {scan.energy_eV} eV")

solver = PhysicsSolver(NumpyOps(), pp.RefineConfig(passes=30), limit_bytes=1 << 29)
for step in solver.run(prepare(scan)):
    if step.number % 10 == 0:
        print(f"pass {step.number}: misfit {step.misfit:.5f}")
print("object found:", step.result().canvas.object.shape)
