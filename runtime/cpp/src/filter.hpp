// SchNet's filters W(d) = network(gaussians(d)) * cutoff function(d), with their slopes.
#pragma once

#include "dense.hpp"
#include "spline.hpp"

namespace zoo {

// For one interaction. The functions keep their own copies of what they need.
Functions schnet_filter(const SchNetParameters& parameters, std::size_t interaction, double cutoff);

}  // namespace zoo
