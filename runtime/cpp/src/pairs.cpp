#include "pairs.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "error.hpp"

namespace zoo {
namespace {

constexpr int reorder_from = 400;     // below, everything stays in the cache in any order
constexpr double cell_spacing = 2.5;  // angstrom
constexpr double same = 1e-6;         // angstrom: rounding of the host's vectors

Vector edge_vector(const zoo_graph& graph, int64_t e) {
    if (graph.vectors) return {graph.vectors[3 * e], graph.vectors[3 * e + 1], graph.vectors[3 * e + 2]};
    const double* from = graph.positions + 3 * graph.centers[e];
    const double* to = graph.positions + 3 * graph.neighbors[e];
    Vector v{to[0] - from[0], to[1] - from[1], to[2] - from[2]};
    if (const double* s = graph.shifts) v = {v.x + s[3 * e], v.y + s[3 * e + 1], v.z + s[3 * e + 2]};
    return v;
}

bool opposite(const Vector& v, const Vector& w) {
    return std::abs(v.x + w.x) < same && std::abs(v.y + w.y) < same && std::abs(v.z + w.z) < same;
}

uint64_t spread(uint64_t x) {  // two zero bits after each of 21 bits
    x &= 0x1fffff;
    x = (x | x << 32) & 0x1f00000000ffff;
    x = (x | x << 16) & 0x1f0000ff0000ff;
    x = (x | x << 8) & 0x100f00f00f00f00f;
    x = (x | x << 4) & 0x10c30c30c30c30c3;
    return (x | x << 2) & 0x1249249249249249;
}

}  // namespace

std::vector<int32_t> spatial_order(const double* positions, int n, double spacing) {
    double low[3] = {0, 0, 0};
    for (int i = 0; i < n; ++i) {
        for (int k = 0; k < 3; ++k) low[k] = i ? std::min(low[k], positions[3 * i + k]) : positions[k];
    }
    std::vector<std::pair<uint64_t, int32_t>> keys(static_cast<std::size_t>(n));
    for (int i = 0; i < n; ++i) {
        uint64_t key = 0;
        for (int k = 0; k < 3; ++k) {
            key |= spread(uint64_t(std::min((positions[3 * i + k] - low[k]) / spacing, 2e6))) << k;
        }
        keys[std::size_t(i)] = {key, i};
    }
    std::sort(keys.begin(), keys.end());
    std::vector<int32_t> order(keys.size());
    std::transform(keys.begin(), keys.end(), order.begin(), [](const auto& key) { return key.second; });
    return order;
}

void PairList::build(const zoo_graph& graph, bool may_reorder) {
    n_atoms = int(graph.n_atoms);
    n_local = int(graph.n_local);
    order.clear();
    rank_.clear();
    if (may_reorder && graph.positions && graph.n_systems == 1 && n_local == n_atoms && n_atoms >= reorder_from) {
        sort_atoms(graph);
    }
    join(graph);
}

void PairList::sort_atoms(const zoo_graph& graph) {
    order = spatial_order(graph.positions, n_atoms, cell_spacing);
    rank_.resize(order.size());
    for (int i = 0; i < n_atoms; ++i) rank_[std::size_t(order[std::size_t(i)])] = i;
}

void PairList::join(const zoo_graph& graph) {
    struct Half {
        int32_t high;
        bool up;  // the centre is the lower of the two atoms
        int64_t edge;
    };
    const auto rank = [&](int64_t atom) { return rank_.empty() ? int32_t(atom) : rank_[std::size_t(atom)]; };
    std::vector<int64_t> start(std::size_t(n_atoms) + 1, 0);
    for (int64_t e = 0; e < graph.n_edges; ++e) {
        ++start[std::size_t(std::min(rank(graph.centers[e]), rank(graph.neighbors[e]))) + 1];
    }
    std::partial_sum(start.begin(), start.end(), start.begin());
    std::vector<Half> halves(static_cast<std::size_t>(graph.n_edges));
    std::vector<int64_t> next(start.begin(), start.end() - 1);
    for (int64_t e = 0; e < graph.n_edges; ++e) {
        const int32_t i = rank(graph.centers[e]), j = rank(graph.neighbors[e]);
        halves[std::size_t(next[std::size_t(std::min(i, j))]++)] = {std::max(i, j), i <= j, e};
    }
    pairs.clear();
    pairs.reserve(halves.size() / 2 + 1);
    const auto by_partner = [](const Half& x, const Half& y) {
        return x.high != y.high ? x.high < y.high : x.up != y.up ? x.up : x.edge < y.edge;
    };
    for (int32_t low = 0; low < n_atoms; ++low) {
        const auto begin = halves.begin() + start[std::size_t(low)], end = halves.begin() + start[std::size_t(low) + 1];
        std::sort(begin, end, by_partner);
        for (auto group = begin; group != end;) {
            const auto stop = std::find_if(group, end, [&](const Half& h) { return h.high != group->high; });
            for (auto h = group; h != stop; ++h) {
                if (h->edge < 0) continue;
                const Vector v = edge_vector(graph, h->edge);
                const auto partner = std::find_if(h + 1, stop, [&](const Half& other) {
                    return other.edge >= 0 && (low == other.high || other.up != h->up) &&
                           opposite(v, edge_vector(graph, other.edge));
                });
                const bool both = partner != stop;
                pairs.push_back(
                    {h->up ? low : h->high, h->up ? h->high : low, both, h->edge, both ? partner->edge : -1});
                if (both) partner->edge = -1;
            }
            group = stop;
        }
    }
}

void PairList::measure(const zoo_graph& graph) {
    vectors.resize(pairs.size());
    distances.resize(pairs.size());
    for (std::size_t p = 0; p < pairs.size(); ++p) {
        const Vector v = edge_vector(graph, pairs[p].ab);
        vectors[p] = v;
        distances[p] = std::sqrt(v.x * v.x + v.y * v.y + v.z * v.z);
        if (!(distances[p] > 1e-4 && distances[p] < 1e12)) {
            throw Error(ZOO_ERROR_STRUCTURE, "atoms " + std::to_string(host(pairs[p].a)) + " and " +
                                                 std::to_string(host(pairs[p].b)) +
                                                 " coincide or are not at finite places");
        }
    }
}

}  // namespace zoo
