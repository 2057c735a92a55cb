// A neighbour list for hosts that have none, kept while it is known to be complete.
#pragma once

#include "lattice.hpp"
#include "pairs.hpp"

namespace zoo {

// How many lattice vectors lie between an atom and its image.
struct Image {
    int32_t x, y, z;
};

class NeighborList {
  public:
    // Brings `list` up to date with the structure: pairs, vectors, distances.
    void update(const zoo_structure& structure, double cutoff, double skin);
    PairList list;
    int64_t builds = 0;

  private:
    bool complete(const zoo_structure& structure, const Cell& cell, double cutoff, double skin) const;
    void build(const zoo_structure& structure, const Cell& cell, double reach);
    void sort_pairs();
    void measure(const zoo_structure& structure, const Cell& cell);

    std::vector<Image> images_;  // of each pair: r = r_b + image - r_a
    std::vector<double> positions_;
    Cell cell_{};
    double reach_ = 0;
};

}  // namespace zoo
