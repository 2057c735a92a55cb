// A neighbour list for hosts that have none, kept while it is known to be complete.
#pragma once

#include "pairs.hpp"

namespace zoo {

struct Cell {
    double vectors[3][3];  // rows
    bool periodic[3];
    bool any() const { return periodic[0] || periodic[1] || periodic[2]; }
};

Cell read_cell(const zoo_structure& structure);  // checked

class NeighborList {
  public:
    // Brings `list` up to date with the structure: pairs, vectors, distances.
    void update(const zoo_structure& structure, double cutoff, double skin);
    PairList list;
    int64_t builds = 0;

  private:
    bool complete(const zoo_structure& structure, const Cell& cell, double cutoff, double skin) const;
    void build(const zoo_structure& structure, const Cell& cell, double cutoff);
    void measure(const zoo_structure& structure, const Cell& cell);

    struct Image {
        int32_t x, y, z;
    };
    std::vector<Image> images_;  // of each pair
    std::vector<double> positions_;
    Cell cell_{};
    double reach_ = 0;
};

}  // namespace zoo
