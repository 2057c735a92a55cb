// Functions of a distance as quintic B-splines on a uniform grid: four continuous derivatives, one row a knot.
#pragma once

#include <cmath>
#include <functional>
#include <vector>

#include "aligned.hpp"
#include "kernels.hpp"

namespace zoo {

// Values and slopes [n, columns] of all functions at n distances. Must be smooth beyond both ends of the table too:
// a cutoff function continues its cosine.
using Functions = std::function<void(int n, const double* distances, double* values, double* slopes)>;

struct TableError {
    double value = 0, slope = 0;  // largest, relative to the largest value and slope
};

// Coefficients [intervals + 5, columns] of splines through the functions on [0, end].
std::vector<double> fit_spline(const Functions& functions, int columns, double end, int intervals);
// Measured between the knots.
TableError measure_spline(const std::vector<double>& table, const Functions& functions, int columns, double end,
                          int intervals);

// Weights of the six rows at t in [0, 1] of an interval of length h, and of their slopes.
template <class T>
inline void spline_weights(double t, double h, T* w) {
    const double s = 1 - t, t2 = t * t, t3 = t2 * t, t4 = t2 * t2, s2 = s * s, s4 = s2 * s2, c = 1.0 / 120,
                 d = 1 / (24 * h);
    w[0] = T(c * s4 * s);
    w[1] = T(c * (26 - 50 * t + 20 * t2 + 20 * t3 - 20 * t4 + 5 * t4 * t));
    w[2] = T(c * (66 - 60 * t2 + 30 * t4 - 10 * t4 * t));
    w[3] = T(c * (26 + 50 * t + 20 * t2 - 20 * t3 - 20 * t4 + 10 * t4 * t));
    w[4] = T(c * (1 + 5 * t + 10 * t2 + 10 * t3 + 5 * t4 - 5 * t4 * t));
    w[5] = T(c * t4 * t);
    w[6] = T(-d * s4);
    w[7] = T(d * (-10 + 8 * t + 12 * t2 - 16 * t3 + 5 * t4));
    w[8] = T(d * (-24 * t + 24 * t3 - 10 * t4));
    w[9] = T(d * (10 + 8 * t - 12 * t2 - 16 * t3 + 10 * t4));
    w[10] = T(d * (1 + 4 * t + 6 * t2 + 4 * t3 - 5 * t4));
    w[11] = T(d * t4);
}

// Tables of equal grid, one for each layer.
template <class T>
struct Tables {
    int intervals = 0, columns = 0;
    double end = 0;
    TableError error;
    std::vector<Buffer<T>> layers;

    void place(double distance, int32_t* row, T* weight) const {
        const double u = distance * (intervals / end);
        const int k = u < intervals ? int(u) : intervals - 1;
        *row = k;
        spline_weights(u - k, end / intervals, weight);
    }
};

// The coarsest grid whose slopes are within the tolerance; throws if there is none.
template <class T>
Tables<T> tabulate(const std::vector<Functions>& layers, int columns, double end, double tolerance);

}  // namespace zoo
