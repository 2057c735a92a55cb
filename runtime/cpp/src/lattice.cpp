#include "lattice.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"

namespace zoo {
namespace {

void cross(const double* a, const double* b, double* c) {
    for (int k = 0; k < 3; ++k) c[k] = a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3];
}

}  // namespace

double invert(const Matrix& m, Matrix& inverse) {
    double normal[3];
    cross(m[1], m[2], normal);
    const double volume = dot(m[0], normal);
    for (int k = 0; k < 3; ++k) {
        cross(m[(k + 1) % 3], m[(k + 2) % 3], normal);
        for (int c = 0; c < 3; ++c) inverse[c][k] = normal[c] / volume;
    }
    return std::abs(volume);
}

void complete_basis(const Cell& cell, Matrix& basis) {
    std::memcpy(basis, cell.vectors, sizeof basis);
    for (int k = 0; k < 3; ++k) {
        if (cell.periodic[k]) continue;
        double best = -1;
        for (int axis = 0; axis < 3; ++axis) {
            double candidate[3] = {};
            candidate[axis] = 1;
            double normal[3];
            const int p = (k + 1) % 3, q = (k + 2) % 3;
            const bool has_p = cell.periodic[p] || p < k, has_q = cell.periodic[q] || q < k;
            if (has_p && has_q) {
                cross(basis[p], basis[q], normal);
                std::copy_n(normal, 3, candidate);
            } else if (has_p || has_q) {
                cross(basis[has_p ? p : q], candidate, normal);
                std::copy_n(normal, 3, candidate);
            }
            const double length = std::sqrt(dot(candidate, candidate));
            if (length <= best) continue;
            best = length;
            for (int c = 0; c < 3; ++c) basis[k][c] = candidate[c] / length;
        }
    }
}

double deformation(const Cell& old_cell, const Cell& new_cell, Matrix& map) {
    Matrix from, to, inverse, square{};
    complete_basis(old_cell, from);
    complete_basis(new_cell, to);
    invert(from, inverse);
    for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) {
            map[r][c] = 0;
            for (int k = 0; k < 3; ++k) map[r][c] += inverse[r][k] * to[k][c];
        }
    }
    for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) square[r][c] = dot(map[r], map[c]);
    }
    // Eigenvalues of a symmetric 3 x 3 matrix in closed form: Smith, https://doi.org/10.1145/355578.366316.
    const double mean = (square[0][0] + square[1][1] + square[2][2]) / 3;
    double spread = 0;
    for (int r = 0; r < 3; ++r) {
        square[r][r] -= mean;
        spread += dot(square[r], square[r]) / 6;
    }
    const double p = std::sqrt(spread);
    if (p < 1e-14) return std::sqrt(mean);
    double normal[3];
    cross(square[1], square[2], normal);
    const double q = std::clamp(dot(square[0], normal) / (2 * p * p * p), -1.0, 1.0);
    const double smallest = mean + 2 * p * std::cos(std::acos(q) / 3 + 2.0943951023931953);
    return std::sqrt(std::max(smallest, 0.0));
}

Cell read_cell(const zoo_structure& structure) {
    Cell cell{};
    for (int k = 0; k < 3; ++k) cell.periodic[k] = structure.periodic[k] != 0;
    if (!cell.any()) return cell;
    if (!structure.cell) bad_argument("a periodic structure needs a cell");
    std::memcpy(cell.vectors, structure.cell, sizeof cell.vectors);
    for (const auto& row : cell.vectors) {
        for (const double value : row) {
            if (!std::isfinite(value)) throw Error(ZOO_ERROR_STRUCTURE, "the cell holds a number that is not finite");
        }
    }
    for (int k = 0; k < 3; ++k) {
        if (!cell.periodic[k]) std::fill_n(cell.vectors[k], 3, 0.0);
        else if (dot(cell.vectors[k], cell.vectors[k]) < 0.01)
            throw Error(ZOO_ERROR_STRUCTURE, "a periodic lattice vector is shorter than 0.1 angstrom");
    }
    Matrix basis, inverse;
    complete_basis(cell, basis);
    if (!(invert(basis, inverse) > 1e-3)) throw Error(ZOO_ERROR_STRUCTURE, "the cell has no volume");
    return cell;
}

}  // namespace zoo
