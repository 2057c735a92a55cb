#include "symmetry.hpp"

#include <algorithm>
#include <cmath>

namespace zoo {
namespace {

constexpr double pi = 3.14159265358979323846;

template <class T>
bool present(const T* sums, int angular, int radial) {
    const auto some = [](T value) { return value != 0; };
    return std::any_of(sums, sums + angular, some) ||
           std::any_of(sums + 5 * angular, sums + 5 * angular + radial, some);
}

}  // namespace

bool angular_is_separable(const WacsfParameters& p) {
    return !p.crossterms && std::all_of(p.zeta.begin(), p.zeta.end(), [](double zeta) { return zeta == 1; });
}

template <class T>
void symmetry_functions(const WacsfParameters& p, const SumLayout& layout, int n_elements, const T* sums,
                        T* functions) {
    std::fill_n(functions, p.features(), T(0));
    const bool separable = angular_is_separable(p);
    const int w = layout.width(), n = layout.angular, K = p.angular, L = p.exponents;
    for (int s = 0; s < n_elements; ++s) {
        const T* a = sums + s * w;
        if (!present(a, n, layout.radial)) continue;
        for (int c = 0; c < p.radial_channels; ++c) {
            const T weight = T(p.radial_weight[std::size_t(s * p.radial_channels + c)]);
            for (int r = 0; r < p.radial && weight != 0; ++r) functions[c * p.radial + r] += weight * a[5 * n + r];
        }
        for (int q = s; q < n_elements && separable; ++q) {
            const T* b = sums + q * w;
            if (q != s && !present(b, n, layout.radial)) continue;
            for (int c = 0; c < p.angular_channels; ++c) {
                const T weight =
                    T((q == s ? 1 : 2) * p.angular_weight[std::size_t((s * n_elements + q) * p.angular_channels + c)]);
                if (weight == 0) continue;
                T* to = functions + p.radial * p.radial_channels + c * K * L;
                for (int k = 0; k < K; ++k) {
                    const T self = q == s ? a[4 * n + k] : T(0), even = a[k] * b[k] - self;
                    const T odd =
                        a[n + k] * b[n + k] + a[2 * n + k] * b[2 * n + k] + a[3 * n + k] * b[3 * n + k] - self;
                    for (int l = 0; l < L; ++l) to[k * L + l] += weight * (even + T(p.lambda[std::size_t(l)]) * odd);
                }
            }
        }
    }
}

template <class T>
void symmetry_functions_reverse(const WacsfParameters& p, const SumLayout& layout, int n_elements, const T* functions,
                                T* sums) {
    const int w = layout.width(), n = layout.angular, K = p.angular, L = p.exponents;
    std::vector<T> out(std::size_t(n_elements * w), T(0));
    std::vector<char> here(static_cast<std::size_t>(n_elements));
    for (int s = 0; s < n_elements; ++s) here[std::size_t(s)] = present(sums + s * w, n, layout.radial);
    const bool separable = angular_is_separable(p);
    for (int s = 0; s < n_elements; ++s) {
        if (!here[std::size_t(s)]) continue;
        T* g = out.data() + s * w;
        for (int c = 0; c < p.radial_channels; ++c) {
            const T weight = T(p.radial_weight[std::size_t(s * p.radial_channels + c)]);
            for (int r = 0; r < p.radial && weight != 0; ++r) g[5 * n + r] += weight * functions[c * p.radial + r];
        }
        for (int q = 0; q < n_elements && separable; ++q) {
            if (!here[std::size_t(q)]) continue;
            const T* b = sums + q * w;
            for (int c = 0; c < p.angular_channels; ++c) {
                const T weight = T(p.angular_weight[std::size_t((s * n_elements + q) * p.angular_channels + c)]);
                if (weight == 0) continue;
                const T* from = functions + p.radial * p.radial_channels + c * K * L;
                for (int k = 0; k < K; ++k) {
                    T even = 0, odd = 0;
                    for (int l = 0; l < L; ++l) {
                        even += from[k * L + l];
                        odd += T(p.lambda[std::size_t(l)]) * from[k * L + l];
                    }
                    g[k] += 2 * weight * even * b[k];
                    for (int x = 1; x < 4; ++x) g[x * n + k] += 2 * weight * odd * b[x * n + k];
                    if (q == s) g[4 * n + k] -= weight * (even + odd);
                }
            }
        }
    }
    std::copy(out.begin(), out.end(), sums);
}

void AngularBasis::operator()(double d, double* value, double* slope) const {
    if (d >= cutoff) {
        std::fill_n(value, parameters.angular, 0.0);
        std::fill_n(slope, parameters.angular, 0.0);
        return;
    }
    const double f = 0.5 * (std::cos(pi * d / cutoff) + 1), df = -0.5 * pi / cutoff * std::sin(pi * d / cutoff);
    for (int k = 0; k < parameters.angular; ++k) {
        const double eta = parameters.angular_eta[std::size_t(k)], x = d - parameters.angular_mu[std::size_t(k)];
        const double g = std::exp(-eta * x * x);
        value[k] = g * f;
        slope[k] = g * (df - 2 * eta * x * f);
    }
}

namespace {

// Calls f(j, k, cos, function index, h, theta, dtheta/dcos) for each pair of neighbours, channel and exponent.
template <class Pair, class Function>
void for_pairs(const AngularBasis& basis, const std::vector<Neighbor>& neighbors, const Pair& enter,
               const Function& f) {
    const WacsfParameters& p = basis.parameters;
    const int elements = int(std::lround(std::sqrt(double(p.angular_weight.size()) / p.angular_channels)));
    for (std::size_t j = 0; j < neighbors.size(); ++j) {
        for (std::size_t k = j + 1; k < neighbors.size(); ++k) {
            const Neighbor &a = neighbors[j], &b = neighbors[k];
            const double cosine = (a.r[0] * b.r[0] + a.r[1] * b.r[1] + a.r[2] * b.r[2]) / (a.d * b.d);
            if (!enter(j, k, cosine)) continue;
            for (int c = 0; c < p.angular_channels; ++c) {
                const double h =
                    p.angular_weight[std::size_t((a.element * elements + b.element) * p.angular_channels + c)];
                for (int l = 0; l < p.exponents && h != 0; ++l) {
                    const double zeta = p.zeta[std::size_t(l)], lambda = p.lambda[std::size_t(l)];
                    const double base = std::max(1 + lambda * cosine, 0.0);
                    // Each pair stands for its two orders: 2 * 2^(1 - zeta).
                    const double scale = h * std::exp2(2 - zeta);
                    const double theta = scale * std::pow(base, zeta);
                    const double turn = base > 0 ? scale * zeta * lambda * std::pow(base, zeta - 1) : 0.0;
                    for (int w = 0; w < p.angular; ++w) f(w, (c * p.angular + w) * p.exponents + l, theta, turn);
                }
            }
        }
    }
}

struct Side {
    std::vector<double> value, slope;
    explicit Side(int n) : value(std::size_t(n)), slope(std::size_t(n)) {}
};

std::vector<Side> sides(const AngularBasis& basis, const std::vector<Neighbor>& neighbors) {
    std::vector<Side> out(neighbors.size(), Side(basis.parameters.angular));
    for (std::size_t j = 0; j < neighbors.size(); ++j) basis(neighbors[j].d, out[j].value.data(), out[j].slope.data());
    return out;
}

// The side between two neighbours: its Gaussians where there are cross terms, else ones.
bool third_side(const AngularBasis& basis, const Neighbor& a, const Neighbor& b, Side& side, double* r) {
    for (int x = 0; x < 3; ++x) r[x] = b.r[x] - a.r[x];
    if (!basis.parameters.crossterms) return true;
    const double d = std::sqrt(r[0] * r[0] + r[1] * r[1] + r[2] * r[2]);
    if (d >= basis.cutoff || d == 0) return false;
    basis(d, side.value.data(), side.slope.data());
    for (int x = 0; x < 3; ++x) r[x] /= d;
    return true;
}

}  // namespace

void angular_functions(const AngularBasis& basis, const std::vector<Neighbor>& neighbors, double* functions) {
    const std::vector<Side> arms = sides(basis, neighbors);
    Side third(basis.parameters.angular);
    std::fill(third.value.begin(), third.value.end(), 1.0);
    const Side *arm_j = nullptr, *arm_k = nullptr;
    const auto enter = [&](std::size_t j, std::size_t k, double) {
        double r[3];
        arm_j = &arms[j], arm_k = &arms[k];
        return third_side(basis, neighbors[j], neighbors[k], third, r);
    };
    for_pairs(basis, neighbors, enter, [&](int w, int at, double theta, double) {
        const std::size_t i = std::size_t(w);
        functions[at] += theta * arm_j->value[i] * arm_k->value[i] * third.value[i];
    });
}

void angular_functions_reverse(const AngularBasis& basis, const std::vector<Neighbor>& neighbors,
                               const double* functions, double* gradients) {
    const std::vector<Side> arms = sides(basis, neighbors);
    Side third(basis.parameters.angular);
    std::fill(third.value.begin(), third.value.end(), 1.0);
    std::size_t j = 0, k = 0;
    double cosine = 0, r[3] = {}, dj = 0, dk = 0, d3 = 0, dcos = 0;
    bool open = false;
    const auto close = [&] {  // hand the pair's slopes to its two neighbours
        if (!open) return;
        const Neighbor &a = neighbors[j], &b = neighbors[k];
        for (int x = 0; x < 3; ++x) {
            const double ua = a.r[x] / a.d, ub = b.r[x] / b.d;
            gradients[3 * j + std::size_t(x)] += dj * ua + dcos * (ub - cosine * ua) / a.d - d3 * r[x];
            gradients[3 * k + std::size_t(x)] += dk * ub + dcos * (ua - cosine * ub) / b.d + d3 * r[x];
        }
        open = false;
    };
    const auto enter = [&](std::size_t first, std::size_t second, double c) {
        close();
        j = first, k = second, cosine = c, dj = dk = d3 = dcos = 0;
        return open = third_side(basis, neighbors[j], neighbors[k], third, r);
    };
    for_pairs(basis, neighbors, enter, [&](int w, int at, double theta, double turn) {
        const std::size_t i = std::size_t(w);
        const double g = functions[at], vj = arms[j].value[i], vk = arms[k].value[i], v3 = third.value[i];
        dj += g * theta * arms[j].slope[i] * vk * v3;
        dk += g * theta * vj * arms[k].slope[i] * v3;
        d3 += g * theta * vj * vk * third.slope[i];
        dcos += g * turn * vj * vk * v3;
    });
    close();
}

template void symmetry_functions<float>(const WacsfParameters&, const SumLayout&, int, const float*, float*);
template void symmetry_functions<double>(const WacsfParameters&, const SumLayout&, int, const double*, double*);
template void symmetry_functions_reverse<float>(const WacsfParameters&, const SumLayout&, int, const float*, float*);
template void symmetry_functions_reverse<double>(const WacsfParameters&, const SumLayout&, int, const double*, double*);

}  // namespace zoo
