#include "filter.hpp"

#include <memory>

namespace zoo {
namespace {

struct Filter {
    std::vector<double> centers;
    double gamma, cutoff;
    const Kernels<double>& kernels;
    Layers<double> layers;

    void operator()(int n, const double* distances, double* values, double* slopes) const {
        constexpr int block = 96;
        for (int from = 0; from < n; from += block) {
            const std::size_t at = std::size_t(from) * layers[1].out;
            evaluate(std::min(block, n - from), distances + from, values + at, slopes + at);
        }
    }

    void evaluate(int n, const double* distances, double* values, double* slopes) const {
        const int gaussians = padded(layers[0].in), features = padded(layers[1].out), out = layers[1].out;
        Buffer<double> basis(std::size_t(n) * gaussians, 0.0), change(std::size_t(n) * gaussians, 0.0);
        for (int p = 0; p < n; ++p) {
            for (int k = 0; k < layers[0].in; ++k) {
                const double x = distances[p] - centers[k], value = std::exp(-gamma * x * x);
                basis[std::size_t(p) * gaussians + k] = value;
                change[std::size_t(p) * gaussians + k] = -2 * gamma * x * value;
            }
        }
        const std::size_t size = std::size_t(n) * features;
        Buffer<double> hidden(size), slope(size), tangent(size), w(size), dw(size);
        const Buffer<double>& none = Buffer<double>(std::size_t(features), 0.0);
        layers[0].forward(kernels, n, basis.data(), hidden.data(), Then::activate, slope.data());
        // The tangents pass through the same layers without their biases.
        kernels.multiply({n, layers[0].in, features, change.data(), gaussians, layers[0].forward_weight.data(),
                          none.data(), tangent.data(), features, slope.data(), features, Then::chain});
        layers[1].forward(kernels, n, hidden.data(), w.data(), Then::store);
        kernels.multiply({n, layers[1].in, features, tangent.data(), features, layers[1].forward_weight.data(),
                          none.data(), dw.data(), features, nullptr, 0, Then::store});
        for (int p = 0; p < n; ++p) {
            const double angle = 3.14159265358979323846 / cutoff * distances[p];
            const double f = 0.5 * (std::cos(angle) + 1), df = -0.5 * 3.14159265358979323846 / cutoff * std::sin(angle);
            for (int c = 0; c < out; ++c) {
                const std::size_t i = std::size_t(p) * features + c, to = std::size_t(p) * out + c;
                values[to] = w[i] * f;
                slopes[to] = dw[i] * f + w[i] * df;
            }
        }
    }
};

}  // namespace

Functions schnet_filter(const SchNetParameters& parameters, std::size_t interaction, double cutoff) {
    const Kernels<double>& best = *kernels<double>(nullptr);
    return Filter{parameters.centers, parameters.gamma, cutoff, best,
                  make_layers(parameters.interactions[interaction].filter, 0, best)};
}

}  // namespace zoo
