"""The tensors that cross every border of zoo, each with its shape, dtype and unit.

``n`` atoms, ``e`` directed edges, ``t`` triples and ``s`` systems of one batch. Training, every exported
graph and every host use these names.
"""

# Input                   shape    dtype    unit
NUMBERS = "numbers"  #    [n]      int64    atomic number Z
POSITIONS = "positions"  # [n, 3]  float64  Å
EDGES = "edges"  #        [2, e]   int64    (centre i, neighbour j), sorted by centre
SHIFTS = "shifts"  #      [e, 3]   float64  Å, so that r_ij = r_j + shift - r_i
SYSTEM = "system"  #      [n]      int64    which system an atom belongs to, ascending
CELL = "cell"  #          [s, 3, 3] float64 Å, lattice vectors as rows; zeros when not periodic
TRIPLES = "triples"  #    [3, t]   int64    (centre i, edge ij, edge ik), each unordered pair of edges once

# Output                  shape     dtype    unit
ENERGY = "energy"  #      [s]       float64  eV
ENERGIES = "energies"  #  [n]       float64  eV, sums to energy
FORCES = "forces"  #      [n, 3]    float    eV/Å
STRESS = "stress"  #      [s, 3, 3] float    eV/Å³, ASE's sign: tensile positive; zeros where the cell is zero
DIPOLE = "dipole"  #      [s, 3]    float    e·Å, about the centre of mass
DIPOLE_MAGNITUDE = "dipole_magnitude"  # [s] float e·Å
CHARGES = "charges"  #    [n]       float    e, latent
SPATIAL_EXTENT = "electronic_spatial_extent"  # [s] float Å², about the centre of mass
ENERGY_SPREAD = "energy_spread"  # [s]  float64  eV, sample standard deviation over the members of a committee
FORCES_SPREAD = "forces_spread"  # [n]  float64  eV/Å, sqrt(Σ_k |F_k - mean F|² / (M - 1)) of each atom

SPREADS = {ENERGY: ENERGY_SPREAD, FORCES: FORCES_SPREAD}

UNITS = {
    ENERGY: "eV",
    ENERGIES: "eV",
    FORCES: "eV/Å",
    STRESS: "eV/Å³",
    DIPOLE: "e·Å",
    DIPOLE_MAGNITUDE: "e·Å",
    CHARGES: "e",
    SPATIAL_EXTENT: "Å²",
    ENERGY_SPREAD: "eV",
    FORCES_SPREAD: "eV/Å",
}
