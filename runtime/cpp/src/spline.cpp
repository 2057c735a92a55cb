#include "spline.hpp"

#include <algorithm>

#include "error.hpp"

namespace zoo {
namespace {

// The error of a wrong start of the recursion falls by 0.43 a knot, so after this many it is below rounding.
constexpr int margin = 48;
constexpr int coarsest = 128, finest = 4096;

// Interpolation by two recursive filters: Unser, Aldroubi, Eden, https://doi.org/10.1109/78.193220.
void filter(std::vector<double>& samples, int count, int columns) {
    for (const double z : {-0.430575347099973, -0.0430962882032647}) {
        const double gain = (1 - z) * (1 - 1 / z);
        for (auto& value : samples) value *= gain;
        for (int i = 1; i < count; ++i) {
            double* row = samples.data() + std::size_t(i) * columns;
            for (int c = 0; c < columns; ++c) row[c] += z * row[c - columns];
        }
        double* last = samples.data() + std::size_t(count - 1) * columns;
        for (int c = 0; c < columns; ++c) last[c] *= z / (z - 1);
        for (int i = count - 2; i >= 0; --i) {
            double* row = samples.data() + std::size_t(i) * columns;
            for (int c = 0; c < columns; ++c) row[c] = z * (row[c + columns] - row[c]);
        }
    }
}

std::vector<double> call(const Functions& functions, const std::vector<double>& at, int columns,
                         std::vector<double>& slopes) {
    std::vector<double> values(at.size() * std::size_t(columns));
    slopes.resize(values.size());
    functions(int(at.size()), at.data(), values.data(), slopes.data());
    return values;
}

}  // namespace

std::vector<double> fit_spline(const Functions& functions, int columns, double end, int intervals) {
    std::vector<double> at, slopes;
    for (int i = -margin; i <= intervals + margin; ++i) at.push_back(i * end / intervals);
    std::vector<double> samples = call(functions, at, columns, slopes);
    filter(samples, int(at.size()), columns);
    const auto from = samples.begin() + std::ptrdiff_t(margin - 2) * columns;
    return {from, from + std::ptrdiff_t(intervals + 5) * columns};
}

TableError measure_spline(const std::vector<double>& table, const Functions& functions, int columns, double end,
                          int intervals) {
    const double h = end / intervals;
    std::vector<double> at, exact_slopes;
    for (int k = 0; k < intervals; ++k) {
        for (const double t : {0.05, 0.3, 0.5, 0.7, 0.95}) at.push_back((k + t) * h);
    }
    const std::vector<double> exact = call(functions, at, columns, exact_slopes);
    double value = 0, slope = 0, largest_value = 1e-300, largest_slope = 1e-300;
    for (std::size_t p = 0; p < at.size(); ++p) {
        const int k = std::min(int(at[p] / h), intervals - 1);
        double w[2 * spline_order];
        spline_weights(at[p] / h - k, h, w);
        for (int c = 0; c < columns; ++c) {
            double y = 0, dy = 0;
            for (int r = 0; r < spline_order; ++r) {
                const double coefficient = table[std::size_t(k + r) * columns + c];
                y += w[r] * coefficient;
                dy += w[spline_order + r] * coefficient;
            }
            const std::size_t i = p * std::size_t(columns) + c;
            value = std::max(value, std::abs(y - exact[i]));
            slope = std::max(slope, std::abs(dy - exact_slopes[i]));
            largest_value = std::max(largest_value, std::abs(exact[i]));
            largest_slope = std::max(largest_slope, std::abs(exact_slopes[i]));
        }
    }
    return {value / largest_value, slope / largest_slope};
}

template <class T>
Tables<T> tabulate(const std::vector<Functions>& layers, int columns, double end, double tolerance) {
    for (int intervals = coarsest; intervals <= finest; intervals = intervals * 5 / 4 / 32 * 32) {
        Tables<T> tables{intervals, columns, end, {}, {}};
        for (const auto& functions : layers) {
            const std::vector<double> table = fit_spline(functions, columns, end, intervals);
            const TableError error = measure_spline(table, functions, columns, end, intervals);
            tables.error = {std::max(tables.error.value, error.value), std::max(tables.error.slope, error.slope)};
            if (!(error.slope <= tolerance)) break;
            tables.layers.emplace_back(table.begin(), table.end());
        }
        if (tables.layers.size() == layers.size()) return tables;
    }
    bad_file("the functions of the distance vary too fast for a table of " + std::to_string(finest) +
             " intervals; use exact filters");
}

template Tables<float> tabulate<float>(const std::vector<Functions>&, int, double, double);
template Tables<double> tabulate<double>(const std::vector<Functions>&, int, double, double);

}  // namespace zoo
