// Cells: rows are lattice vectors, and directions may be periodic or not.
#pragma once

#include "zoo.h"

namespace zoo {

using Matrix = double[3][3];

struct Cell {
    Matrix vectors;  // zero where not periodic
    bool periodic[3];
    bool any() const { return periodic[0] || periodic[1] || periodic[2]; }
};

Cell read_cell(const zoo_structure& structure);  // checked

inline double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }
double invert(const Matrix& m, Matrix& inverse);  // gives the volume
// Lattice vectors, with unit vectors at right angles to them in the directions that are not periodic.
void complete_basis(const Cell& cell, Matrix& basis);
// The map that takes one cell to the other, for row vectors, and the smallest factor by which it stretches any vector.
double deformation(const Cell& from, const Cell& to, Matrix& map);

}  // namespace zoo
