#include "error.hpp"
#include "kernels.hpp"
#include "network.hpp"

namespace zoo {

std::unique_ptr<Engine> make_engine(const Parameters& parameters, const Options& options) {
    if (!kernels<float>(options.instruction_set)) {
        bad_argument(
            std::string("instruction_set is ") + options.instruction_set +
            ", which this machine or this build lacks; allowed are avx512, avx2, baseline and NULL for the best");
    }
    if (parameters.is_schnet()) {
        return options.float64 ? make_schnet<double>(parameters, options) : make_schnet<float>(parameters, options);
    }
    return options.float64 ? make_wacsf<double>(parameters, options) : make_wacsf<float>(parameters, options);
}

}  // namespace zoo
