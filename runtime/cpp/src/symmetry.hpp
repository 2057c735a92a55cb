// Symmetry functions of one atom from sums over its neighbours, or over pairs of them.
#pragma once

#include "kernels.hpp"
#include "parameters.hpp"

namespace zoo {

// Layout of the sums over the neighbours of one element; see Kernels::describe.
struct SumLayout {
    int angular, radial;  // padded
    int width() const { return 5 * angular + radial; }
};

// True where the angular functions follow from sums over single neighbours: with zeta = 1 and no factor of r_jk,
//   sum_{j != k} a_j a_k (1 + lambda cos) = (sum a)^2 + lambda (sum a u)^2 - (1 + lambda) sum a^2.
bool angular_is_separable(const WacsfParameters& parameters);

// functions [D] from sums [S, width]; the angular part only where it is separable.
template <class T>
void symmetry_functions(const WacsfParameters& p, const SumLayout& layout, int n_elements, const T* sums, T* functions);

// gradients of the sums, in their place, from those of the functions.
template <class T>
void symmetry_functions_reverse(const WacsfParameters& p, const SumLayout& layout, int n_elements, const T* functions,
                                T* sums);

// A neighbour of the atom in the middle, for angular functions of any kind.
struct Neighbor {
    double r[3], d;
    int element;
    std::size_t place;  // its row in whatever belongs to the neighbours
};

// Value and slope of each angular Gaussian times the cutoff function, [K].
struct AngularBasis {
    const WacsfParameters& parameters;
    double cutoff;
    void operator()(double d, double* value, double* slope) const;
};

// Adds the angular functions [K * L * C'] of one atom, by all pairs of neighbours.
void angular_functions(const AngularBasis& basis, const std::vector<Neighbor>& neighbors, double* functions);
// Adds dE/dr of each neighbour, [neighbors, 3].
void angular_functions_reverse(const AngularBasis& basis, const std::vector<Neighbor>& neighbors,
                               const double* functions, double* gradients);

}  // namespace zoo
