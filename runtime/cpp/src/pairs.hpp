// The pairs of atoms that a network sums over. The two directed edges of a pair are joined where both are there, since
// they share one distance and so one filter.
#pragma once

#include <cstdint>
#include <vector>

#include "aligned.hpp"
#include "zoo.h"

namespace zoo {

struct Vector {
    double x, y, z;
};

struct Pair {
    int32_t a, b;    // r points from a to b
    bool both;       // false: only the edge with centre a is there
    int64_t ab, ba;  // its edges in the host's list, or -1
};

class PairList {
  public:
    int n_atoms = 0, n_local = 0;
    std::vector<Pair> pairs;      // those of systems and atoms that come first, first
    std::vector<Vector> vectors;  // of this step
    std::vector<double> distances;
    std::vector<int32_t> order;  // host's index of each atom; empty where it is the same

    // Joins the edges of a checked graph; atoms are put in an order that keeps neighbours close together where this
    // pays.
    void build(const zoo_graph& graph, bool may_reorder);
    // Distances of this step; throws if two atoms of an edge coincide.
    void measure(const zoo_graph& graph);
    int32_t host(int32_t atom) const { return order.empty() ? atom : order[std::size_t(atom)]; }

  private:
    void sort_atoms(const zoo_graph& graph);
    void join(const zoo_graph& graph);
    std::vector<int32_t> rank_;  // inverse of order
};

// Morton order of points: each atom's place along a space-filling curve.
std::vector<int32_t> spatial_order(const double* positions, int n, double spacing);

}  // namespace zoo
