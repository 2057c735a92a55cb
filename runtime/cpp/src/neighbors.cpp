#include "neighbors.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "error.hpp"

namespace zoo {
namespace {

constexpr int reorder_from = 400;  // atoms; below, everything stays in the cache in any order
constexpr double cell_spacing = 2.5;

// Atoms sorted into bins of about half the reach, in the directions of the lattice.
class Bins {
  public:
    Bins(const zoo_structure& structure, const Cell& cell, double reach);
    void fill(const PairList& list);
    // Calls f(j, v, image) for every j with r_j + image - r_i = v inside of the half of the surroundings of atom i
    // whose other half is found from j; i and j count in the order of the list.
    template <class F>
    void for_half(const PairList& list, int i, const F& f) const;

    std::vector<double> wrapped;  // positions inside of the cell
    std::vector<Image> wraps;     // what was taken off each

  private:
    void place(const zoo_structure& structure, int k);
    int bin(int atom, int k) const;

    const Cell& cell_;
    Matrix basis_, inverse_;
    int n_, bins_[3], range_[3];
    double low_[3] = {0, 0, 0}, high_[3] = {1, 1, 1};
    std::vector<double> fraction_;
    std::vector<int32_t> start_, members_;
};

Bins::Bins(const zoo_structure& structure, const Cell& cell, double reach) : cell_(cell), n_(int(structure.n_atoms)) {
    const std::size_t n = std::size_t(n_);
    fraction_.resize(3 * n);
    wrapped.resize(3 * n);
    wraps.assign(n, Image{0, 0, 0});
    complete_basis(cell, basis_);
    invert(basis_, inverse_);
    for (int k = 0; k < 3; ++k) place(structure, k);
    for (int k = 0; k < 3; ++k) {
        const double column[3] = {inverse_[0][k], inverse_[1][k], inverse_[2][k]};
        const double height = (high_[k] - low_[k]) / std::sqrt(dot(column, column));
        const double limit = std::max(1.0, std::cbrt(4.0 * n_));
        bins_[k] = int(std::clamp(std::floor(height / (0.5 * reach)), 1.0, limit));
        range_[k] = int(std::min(std::ceil(reach * bins_[k] / height), 1e4));
        if (!cell.periodic[k]) range_[k] = std::min(range_[k], bins_[k] - 1);
    }
    for (std::size_t i = 0; i < n; ++i) {
        for (std::size_t c = 0; c < 3; ++c) {
            wrapped[3 * i + c] = 0;
            for (std::size_t k = 0; k < 3; ++k) wrapped[3 * i + c] += fraction_[3 * i + k] * basis_[k][c];
        }
    }
}

// Places along one direction in units of the basis, wrapped where it is periodic.
void Bins::place(const zoo_structure& structure, int k) {
    double least = 1e300, most = -1e300;
    for (int i = 0; i < n_; ++i) {
        const double* r = structure.positions + 3 * i;
        double s = r[0] * inverse_[0][k] + r[1] * inverse_[1][k] + r[2] * inverse_[2][k];
        if (!(std::abs(s) < 1e8)) {
            throw Error(ZOO_ERROR_STRUCTURE, "atom " + std::to_string(i) + " is not at a finite place near the cell");
        }
        if (cell_.periodic[k]) {
            const double whole = std::floor(s);
            Image& wrap = wraps[std::size_t(i)];
            (k == 0 ? wrap.x : k == 1 ? wrap.y : wrap.z) = int32_t(whole);
            s -= whole;
        }
        fraction_[3 * std::size_t(i) + std::size_t(k)] = s;
        least = std::min(least, s);
        most = std::max(most, s);
    }
    if (!cell_.periodic[k]) low_[k] = least, high_[k] = std::max(most, least + 1e-3);
}

int Bins::bin(int atom, int k) const {
    const double s = (fraction_[3 * std::size_t(atom) + std::size_t(k)] - low_[k]) / (high_[k] - low_[k]);
    return std::clamp(int(s * bins_[k]), 0, bins_[k] - 1);
}

void Bins::fill(const PairList& list) {
    std::vector<int32_t> home(static_cast<std::size_t>(n_));
    start_.assign(std::size_t(bins_[0]) * std::size_t(bins_[1]) * std::size_t(bins_[2]) + 1, 0);
    members_.resize(home.size());
    for (int i = 0; i < n_; ++i) {
        const int atom = list.host(i);
        home[std::size_t(i)] = (bin(atom, 0) * bins_[1] + bin(atom, 1)) * bins_[2] + bin(atom, 2);
        ++start_[std::size_t(home[std::size_t(i)]) + 1];
    }
    for (std::size_t b = 1; b < start_.size(); ++b) start_[b] += start_[b - 1];
    std::vector<int32_t> next(start_.begin(), start_.end() - 1);
    for (int i = 0; i < n_; ++i) members_[std::size_t(next[std::size_t(home[std::size_t(i)])]++)] = i;
}

template <class F>
void Bins::for_half(const PairList& list, int i, const F& f) const {
    const int atom = list.host(i), here[3] = {bin(atom, 0), bin(atom, 1), bin(atom, 2)};
    const double* r = &wrapped[3 * std::size_t(atom)];
    for (int x = 0; x <= range_[0]; ++x) {
        for (int y = x ? -range_[1] : 0; y <= range_[1]; ++y) {
            for (int z = x || y ? -range_[2] : 0; z <= range_[2]; ++z) {
                const int at[3] = {here[0] + x, here[1] + y, here[2] + z};
                int image[3], where[3];
                bool outside = false;
                for (int k = 0; k < 3; ++k) {
                    image[k] = at[k] >= 0 ? at[k] / bins_[k] : -((bins_[k] - 1 - at[k]) / bins_[k]);
                    where[k] = at[k] - image[k] * bins_[k];
                    outside = outside || (image[k] != 0 && !cell_.periodic[k]);
                }
                if (outside) continue;
                double shift[3];
                for (int c = 0; c < 3; ++c) {
                    shift[c] = image[0] * basis_[0][c] + image[1] * basis_[1][c] + image[2] * basis_[2][c] - r[c];
                }
                const std::size_t b = std::size_t((where[0] * bins_[1] + where[1]) * bins_[2] + where[2]);
                const bool own = x == 0 && y == 0 && z == 0;
                for (int32_t m = start_[b]; m < start_[b + 1]; ++m) {
                    const int32_t j = members_[std::size_t(m)];
                    if (own && j <= i) continue;
                    const double* other = &wrapped[3 * std::size_t(list.host(j))];
                    const double v[3] = {other[0] + shift[0], other[1] + shift[1], other[2] + shift[2]};
                    f(j, v, Image{image[0], image[1], image[2]});
                }
            }
        }
    }
}

}  // namespace

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
    if (std::memcmp(cell.vectors, cell_.vectors, sizeof cell.vectors) != 0) stretch = deformation(cell_, cell, map);
    const double allowed = 0.5 * (stretch * reach_ - cutoff);
    if (!(allowed > 0)) return false;
    for (std::size_t i = 0; i < n; ++i) {
        const double *old = &positions_[3 * i], *now = structure.positions + 3 * i;
        double move[3];
        for (int c = 0; c < 3; ++c) move[c] = now[c] - (old[0] * map[0][c] + old[1] * map[1][c] + old[2] * map[2][c]);
        // Written so that a position that is no number makes a new list, which refuses it.
        if (!(dot(move, move) < allowed * allowed)) return false;
    }
    return true;
}

void NeighborList::build(const zoo_structure& structure, const Cell& cell, double reach) {
    const int n = int(structure.n_atoms);
    positions_.clear();  // so that a failure leaves no list behind
    Bins bins(structure, cell, reach);
    list.n_atoms = list.n_local = n;
    list.order.clear();
    if (n >= reorder_from) list.order = spatial_order(bins.wrapped.data(), n, cell_spacing);
    bins.fill(list);
    list.pairs.clear();
    images_.clear();
    for (int i = 0; i < n; ++i) {
        const Image& own = bins.wraps[std::size_t(list.host(i))];
        bins.for_half(list, i, [&](int32_t j, const double* v, const Image& image) {
            if (!(dot(v, v) < reach * reach)) return;
            const Image& other = bins.wraps[std::size_t(list.host(j))];
            list.pairs.push_back({i, j, true, -1, -1});
            images_.push_back({image.x - other.x + own.x, image.y - other.y + own.y, image.z - other.z + own.z});
        });
    }
    sort_pairs();
    positions_.assign(structure.positions, structure.positions + 3 * n);
    cell_ = cell;
    reach_ = reach;
    ++builds;
}

// By the first atom of each pair, which is made the one with the lower number.
void NeighborList::sort_pairs() {
    std::vector<std::size_t> next(std::size_t(list.n_atoms) + 1, 0);
    for (const Pair& pair : list.pairs) ++next[std::size_t(std::min(pair.a, pair.b)) + 1];
    for (std::size_t i = 1; i < next.size(); ++i) next[i] += next[i - 1];
    std::vector<Pair> pairs(list.pairs.size());
    std::vector<Image> images(pairs.size());
    for (std::size_t p = 0; p < pairs.size(); ++p) {
        Pair pair = list.pairs[p];
        Image image = images_[p];
        if (pair.a > pair.b) {
            std::swap(pair.a, pair.b);
            image = {-image.x, -image.y, -image.z};
        }
        const std::size_t to = next[std::size_t(pair.a)]++;
        pairs[to] = pair;
        images[to] = image;
    }
    list.pairs.swap(pairs);
    images_.swap(images);
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
            v[c] = structure.positions[3 * b + c] - structure.positions[3 * a + c] + s.x * h[0][c] + s.y * h[1][c] +
                   s.z * h[2][c];
        }
        list.vectors[p] = {v[0], v[1], v[2]};
        list.distances[p] = std::sqrt(dot(v, v));
        if (!(list.distances[p] > 1e-4)) {
            throw Error(ZOO_ERROR_STRUCTURE, "atoms " + std::to_string(a) + " and " + std::to_string(b) + " coincide");
        }
    }
}

}  // namespace zoo
