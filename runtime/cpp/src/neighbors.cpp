#include "neighbors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"

namespace zoo {
namespace {

using Matrix = double[3][3];

void cross(const double* a, const double* b, double* c) {
    for (int k = 0; k < 3; ++k) c[k] = a[(k + 1) % 3] * b[(k + 2) % 3] - a[(k + 2) % 3] * b[(k + 1) % 3];
}

double dot(const double* a, const double* b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

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

// Lattice vectors, with unit vectors at right angles to them in the directions that are not periodic.
void complete_basis(const Cell& cell, Matrix& basis) {
    std::memcpy(basis, cell.vectors, sizeof basis);
    for (int k = 0; k < 3; ++k) {
        if (cell.periodic[k]) continue;
        double best = -1;
        for (int axis = 0; axis < 3; ++axis) {
            double candidate[3] = {};
            candidate[axis] = 1;
            // Twice, since the others need not be at right angles to each other.
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

// The smallest factor by which the map from one basis to another stretches any vector.
double smallest_stretch(const Matrix& from, const Matrix& to) {
    Matrix inverse, map{}, square{};
    invert(from, inverse);
    for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) {
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

}  // namespace

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
        else if (dot(cell.vectors[k], cell.vectors[k]) < 0.01) throw Error(ZOO_ERROR_STRUCTURE, "a periodic lattice vector is shorter than 0.1 angstrom");
    }
    Matrix basis, inverse;
    complete_basis(cell, basis);
    if (!(invert(basis, inverse) > 1e-3)) throw Error(ZOO_ERROR_STRUCTURE, "the cell has no volume");
    return cell;
}

void NeighborList::update(const zoo_structure& structure, double cutoff, double skin) {
    const Cell cell = read_cell(structure);
    if (!complete(structure, cell, cutoff, skin)) build(structure, cell, cutoff + skin);
    measure(structure, cell);
}

// A pair outside of the list was at least `reach_` apart. The map of the cell shrinks that by no more than its smallest
// stretch, and the atoms' own moves by no more than twice the largest of them.
bool NeighborList::complete(const zoo_structure& structure, const Cell& cell, double cutoff, double skin) const {
    const std::size_t n = std::size_t(structure.n_atoms);
    if (skin <= 0 || positions_.size() != 3 * n || reach_ < cutoff) return false;
    if (std::memcmp(cell.periodic, cell_.periodic, sizeof cell.periodic) != 0) return false;
    double stretch = 1;
    Matrix map = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    if (std::memcmp(cell.vectors, cell_.vectors, sizeof cell.vectors) != 0) {
        Matrix from, to, inverse;
        complete_basis(cell_, from);
        complete_basis(cell, to);
        invert(from, inverse);
        stretch = smallest_stretch(from, to);
        for (int r = 0; r < 3; ++r) {
            for (int c = 0; c < 3; ++c) {
                map[r][c] = 0;
                for (int k = 0; k < 3; ++k) map[r][c] += inverse[r][k] * to[k][c];
            }
        }
    }
    const double allowed = 0.5 * (stretch * reach_ - cutoff);
    if (!(allowed > 0)) return false;
    double largest = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double* old = positions_.data() + 3 * i;
        double move[3];
        for (int c = 0; c < 3; ++c) {
            move[c] = structure.positions[3 * i + std::size_t(c)] - (old[0] * map[0][c] + old[1] * map[1][c] + old[2] * map[2][c]);
        }
        largest = std::max(largest, dot(move, move));
    }
    return largest < allowed * allowed;
}

void NeighborList::build(const zoo_structure& structure, const Cell& cell, double reach) {
    const int n = int(structure.n_atoms);
    positions_.clear();  // so that a failure leaves no list behind
    Matrix basis, inverse;
    complete_basis(cell, basis);
    invert(basis, inverse);

    // Places in units of the basis, wrapped where periodic, and in bins of about half the reach.
    std::vector<double> fraction(3 * std::size_t(n)), wrapped(3 * std::size_t(n));
    std::vector<Image> wraps(std::size_t(n), Image{0, 0, 0});
    double low[3] = {0, 0, 0}, high[3] = {1, 1, 1};
    for (int k = 0; k < 3; ++k) {
        double least = 1e300, most = -1e300;
        for (int i = 0; i < n; ++i) {
            const double* r = structure.positions + 3 * i;
            double s = r[0] * inverse[0][k] + r[1] * inverse[1][k] + r[2] * inverse[2][k];
            if (!(std::abs(s) < 1e8)) throw Error(ZOO_ERROR_STRUCTURE, "atom " + std::to_string(i) + " is not at a finite place near the cell");
            if (cell.periodic[k]) {
                const double w = std::floor(s);
                (k == 0 ? wraps[std::size_t(i)].x : k == 1 ? wraps[std::size_t(i)].y : wraps[std::size_t(i)].z) = int32_t(w);
                s -= w;
            }
            fraction[3 * std::size_t(i) + std::size_t(k)] = s;
            least = std::min(least, s);
            most = std::max(most, s);
        }
        if (!cell.periodic[k]) low[k] = least, high[k] = std::max(most, least + 1e-3);
    }
    int bins[3], range[3];
    for (int k = 0; k < 3; ++k) {
        const double normal = std::sqrt(inverse[0][k] * inverse[0][k] + inverse[1][k] * inverse[1][k] + inverse[2][k] * inverse[2][k]);
        const double height = (high[k] - low[k]) / normal;
        const double limit = std::max(1.0, std::cbrt(4.0 * n));
        bins[k] = int(std::clamp(std::floor(height / (0.5 * reach)), 1.0, limit));
        range[k] = int(std::min(std::ceil(reach * bins[k] / height), 1e4));
        if (!cell.periodic[k]) range[k] = std::min(range[k], bins[k] - 1);
    }
    const auto bin_of = [&](int i, int k) {
        const double s = (fraction[3 * std::size_t(i) + std::size_t(k)] - low[k]) / (high[k] - low[k]);
        return std::clamp(int(s * bins[k]), 0, bins[k] - 1);
    };
    for (int i = 0; i < n; ++i) {
        for (int c = 0; c < 3; ++c) {
            double r = 0;
            for (int k = 0; k < 3; ++k) r += fraction[3 * std::size_t(i) + std::size_t(k)] * basis[k][c];
            wrapped[3 * std::size_t(i) + std::size_t(c)] = r;
        }
    }
    list.n_atoms = list.n_local = n;
    list.order.clear();
    if (n >= 400) list.order = spatial_order(wrapped.data(), n, 2.5);

    const std::size_t n_bins = std::size_t(bins[0]) * std::size_t(bins[1]) * std::size_t(bins[2]);
    std::vector<int32_t> start(n_bins + 1, 0), members(static_cast<std::size_t>(n)), home(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {  // i counts in the new order
        const int atom = list.host(i);
        home[std::size_t(i)] = (bin_of(atom, 0) * bins[1] + bin_of(atom, 1)) * bins[2] + bin_of(atom, 2);
        ++start[std::size_t(home[std::size_t(i)]) + 1];
    }
    for (std::size_t b = 0; b < n_bins; ++b) start[b + 1] += start[b];
    std::vector<int32_t> next(start.begin(), start.end() - 1);
    for (int i = 0; i < n; ++i) members[std::size_t(next[std::size_t(home[std::size_t(i)])]++)] = i;

    list.pairs.clear();
    images_.clear();
    const double limit = reach * reach;
    for (int i = 0; i < n; ++i) {
        const int atom = list.host(i), bin[3] = {bin_of(atom, 0), bin_of(atom, 1), bin_of(atom, 2)};
        const double* ri = &wrapped[3 * std::size_t(atom)];
        // Half of the bins around: those on the other side find this atom.
        for (int dx = 0; dx <= range[0]; ++dx) {
            for (int dy = dx ? -range[1] : 0; dy <= range[1]; ++dy) {
                for (int dz = dx || dy ? -range[2] : 0; dz <= range[2]; ++dz) {
                    const int at[3] = {bin[0] + dx, bin[1] + dy, bin[2] + dz};
                    int image[3], where[3];
                    bool outside = false;
                    for (int k = 0; k < 3; ++k) {
                        image[k] = at[k] >= 0 ? at[k] / bins[k] : -((bins[k] - 1 - at[k]) / bins[k]);
                        where[k] = at[k] - image[k] * bins[k];
                        outside = outside || (image[k] != 0 && !cell.periodic[k]);
                    }
                    if (outside) continue;
                    double shift[3];
                    for (int c = 0; c < 3; ++c) {
                        shift[c] = image[0] * basis[0][c] + image[1] * basis[1][c] + image[2] * basis[2][c] - ri[c];
                    }
                    const std::size_t b = std::size_t((where[0] * bins[1] + where[1]) * bins[2] + where[2]);
                    const bool same_bin = dx == 0 && dy == 0 && dz == 0;
                    for (int32_t m = start[b]; m < start[b + 1]; ++m) {
                        const int32_t j = members[std::size_t(m)];
                        if (same_bin && j <= i) continue;
                        const int other = list.host(j);
                        const double* rj = &wrapped[3 * std::size_t(other)];
                        const double v[3] = {rj[0] + shift[0], rj[1] + shift[1], rj[2] + shift[2]};
                        if (!(dot(v, v) < limit)) continue;
                        const Image& wi = wraps[std::size_t(atom)];
                        const Image& wj = wraps[std::size_t(other)];
                        list.pairs.push_back({i, j, true, -1, -1});
                        images_.push_back({image[0] - wj.x + wi.x, image[1] - wj.y + wi.y, image[2] - wj.z + wi.z});
                    }
                }
            }
        }
    }
    positions_.assign(structure.positions, structure.positions + 3 * n);
    cell_ = cell;
    reach_ = reach;
    ++builds;
}

void NeighborList::measure(const zoo_structure& structure, const Cell& cell) {
    const std::size_t n = list.pairs.size();
    list.vectors.resize(n);
    list.distances.resize(n);
    const auto& h = cell.vectors;
    for (std::size_t p = 0; p < n; ++p) {
        const int a = list.host(list.pairs[p].a), b = list.host(list.pairs[p].b);
        const Image& s = images_[p];
        double v[3];
        for (int c = 0; c < 3; ++c) {
            v[c] = structure.positions[3 * b + c] - structure.positions[3 * a + c] + s.x * h[0][c] + s.y * h[1][c] + s.z * h[2][c];
        }
        list.vectors[p] = {v[0], v[1], v[2]};
        list.distances[p] = std::sqrt(dot(v, v));
        if (!(list.distances[p] > 1e-4)) {
            throw Error(ZOO_ERROR_STRUCTURE, "atoms " + std::to_string(a) + " and " + std::to_string(b) + " coincide");
        }
    }
}

}  // namespace zoo
