// The kernels, written with the vector extensions of GCC and Clang. A source file defines ZOO_ISA (a namespace) and
// ZOO_VECTOR_BYTES and includes this file once. Nothing from the standard library may be called here: an inline
// function of it would be compiled for this instruction set and then be linked into code for all machines.
#pragma once

#include <cstdint>

#include "kernels.hpp"

namespace zoo::ZOO_ISA {
namespace {

template <class T>
struct Simd;
template <>
struct Simd<float> {
    typedef float type __attribute__((vector_size(ZOO_VECTOR_BYTES)));
    typedef int32_t bits __attribute__((vector_size(ZOO_VECTOR_BYTES)));
};
template <>
struct Simd<double> {
    typedef double type __attribute__((vector_size(ZOO_VECTOR_BYTES)));
    typedef int64_t bits __attribute__((vector_size(ZOO_VECTOR_BYTES)));
};
template <class T>
using vec = typename Simd<T>::type;
template <class T>
constexpr int lanes = ZOO_VECTOR_BYTES / int(sizeof(T));

template <class T>
inline vec<T> load(const T* from) {
    vec<T> value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

template <class T>
inline void store(T* to, vec<T> value) {
    __builtin_memcpy(to, &value, sizeof value);
}

template <class T>
inline vec<T> all(T value) {
    return value - vec<T>{};
}

// Halves are added until one number is left.
template <class T>
inline T sum(vec<T> v) {
    T part[lanes<T>];
    __builtin_memcpy(part, &v, sizeof v);
#pragma GCC unroll 8
    for (int half = lanes<T> / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < half; ++i) part[i] += part[i + half];
    }
    return part[0];
}

// exp(x) for x <= 0: 2^n times a polynomial in the remainder; n is read from the low bits of a shifted number.
inline vec<float> exp_negative(vec<float> x) {
    x = x < -87.0f ? all(-87.0f) : x;
    const vec<float> shifted = x * 1.44269504088896341f + 12582912.0f;
    const vec<float> n = shifted - 12582912.0f;
    const vec<float> r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    vec<float> p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    const auto scale = (Simd<float>::bits)shifted << 23;
    return (vec<float>)((Simd<float>::bits)p + scale);
}

inline vec<double> exp_negative(vec<double> x) {
    x = x < -700.0 ? all(-700.0) : x;
    const vec<double> shifted = x * 1.44269504088896340736 + 6755399441055744.0;
    const vec<double> n = shifted - 6755399441055744.0;
    const vec<double> r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6;
    vec<double> p = all(1.0 / 6227020800.0);
    constexpr double inverse_factorial[] = {
        1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
        1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
    for (const double c : inverse_factorial) p = p * r + c;
    const auto scale = (Simd<double>::bits)shifted << 52;
    return (vec<double>)((Simd<double>::bits)p + scale);
}

// ln(1 + e) for e in (0, 1], as 2 artanh(e / (2 + e)): no cancellation for small e.
inline vec<float> log1p_unit(vec<float> s) {
    const vec<float> q = s * s;
    vec<float> p = all(1.0f / 15);
    constexpr float odd[] = {1.0f / 13, 1.0f / 11, 1.0f / 9, 1.0f / 7, 1.0f / 5, 1.0f / 3, 1.0f};
    for (const float c : odd) p = p * q + c;
    return 2.0f * s * p;
}

inline vec<double> log1p_unit(vec<double> s) {
    const vec<double> q = s * s;
    vec<double> p = all(1.0 / 35);
    constexpr double odd[] = {1.0 / 33, 1.0 / 31, 1.0 / 29, 1.0 / 27, 1.0 / 25, 1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17,
                              1.0 / 15, 1.0 / 13, 1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
    for (const double c : odd) p = p * q + c;
    return 2.0 * s * p;
}

// Shifted softplus, ln(exp(x)/2 + 1/2), and its slope, the logistic function.
template <class T>
inline vec<T> activate(vec<T> x, vec<T>& slope) {
    const vec<T> e = exp_negative(x < T(0) ? x : -x);
    const vec<T> r = T(1) / ((T(1) + e) * (T(2) + e));
    const vec<T> logistic = r * (T(2) + e);  // of |x|
    slope = x < T(0) ? e * logistic : logistic;
    return (x < T(0) ? vec<T>{} : x) + log1p_unit(e * (r * (T(1) + e))) - T(0.69314718055994530942);
}

#if ZOO_VECTOR_BYTES == 64 || defined(__aarch64__)
constexpr int tile_vectors = 4;
#else
constexpr int tile_vectors = 2;
#endif
constexpr int tile_rows = 6;

template <class T>
void pack(int inner, int columns, const T* b, T* packed) {
    const int wide = tile_vectors * lanes<T>;
    for (int from = 0, width = wide; from < columns; from += width) {
        if (columns - from < wide) width = lanes<T>;
        for (int k = 0; k < inner; ++k) {
            for (int c = 0; c < width; ++c) *packed++ = b[std::ptrdiff_t(k) * columns + from + c];
        }
    }
}

template <class T, int R, int V>
inline void finish(const Product<T>& p, int row, int column, vec<T> (&sums)[R][V]) {
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            const int at = column + v * lanes<T>;
            T* c = p.c + (row + r) * p.c_stride + at;
            T* slope = p.slope ? p.slope + (row + r) * p.slope_stride + at : nullptr;
            vec<T> result = sums[r][v];
            if (p.bias) result += load(p.bias + at);
            if (p.then == Then::add) {
                result += load(c);
            } else if (p.then == Then::chain) {
                result *= load(slope);
            } else if (p.then == Then::activate) {
                vec<T> s;
                result = activate<T>(result, s);
                store(slope, s);
            }
            store(c, result);
        }
    }
}

template <class T, int R, int V>
void tile(const Product<T>& p, int row, int column, const T* b) {
    vec<T> sums[R][V] = {};
    const T* a = p.a + row * p.a_stride;
    for (int k = 0; k < p.inner; ++k, b += V * lanes<T>) {
        vec<T> line[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) line[v] = load(b + v * lanes<T>);
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
            const vec<T> left = all(a[r * p.a_stride + k]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) sums[r][v] += left * line[v];
        }
    }
    finish<T, R, V>(p, row, column, sums);
}

template <class T, int V>
void panel(const Product<T>& p, int column, const T* b) {
    int row = 0;
    for (; row + tile_rows <= p.rows; row += tile_rows) tile<T, tile_rows, V>(p, row, column, b);
    switch (p.rows - row) {
        case 5: return tile<T, 5, V>(p, row, column, b);
        case 4: return tile<T, 4, V>(p, row, column, b);
        case 3: return tile<T, 3, V>(p, row, column, b);
        case 2: return tile<T, 2, V>(p, row, column, b);
        case 1: return tile<T, 1, V>(p, row, column, b);
        default: return;
    }
}

template <class T>
void multiply(const Product<T>& p) {
    const T* b = p.packed;
    int column = 0;
    for (; column + tile_vectors * lanes<T> <= p.columns; column += tile_vectors * lanes<T>) {
        panel<T, tile_vectors>(p, column, b);
        b += std::ptrdiff_t(p.inner) * tile_vectors * lanes<T>;
    }
    for (; column < p.columns; column += lanes<T>) {
        panel<T, 1>(p, column, b);
        b += std::ptrdiff_t(p.inner) * lanes<T>;
    }
}

template <class T>
inline vec<T> combine(const T* row, int columns, const vec<T> (&w)[spline_order]) {
    vec<T> value = w[0] * load(row);
#pragma GCC unroll 5
    for (int k = 1; k < spline_order; ++k) value += w[k] * load(row + std::ptrdiff_t(k) * columns);
    return value;
}

// Neighbours come in the order of their distances, so nothing but this tells the machine which row is next.
template <class T>
inline void prefetch_row(const T* row, int columns) {
    for (int c = 0; c < columns; c += 64 / int(sizeof(T))) __builtin_prefetch(row + c);
}
constexpr int64_t prefetch_ahead = 3;

template <class T, bool both>
void gather_pairs(const Pairs<T>& pairs, const T* table, int columns, const T* y, T* m) {
    for (int64_t p = 0; p < pairs.count; ++p) {
        const std::ptrdiff_t a = std::ptrdiff_t(pairs.a[p]) * columns, b = std::ptrdiff_t(pairs.b[p]) * columns;
        const T* row = table + std::ptrdiff_t(pairs.row[p]) * columns;
        if (p + prefetch_ahead < pairs.count) {
            const std::ptrdiff_t next = std::ptrdiff_t(pairs.b[p + prefetch_ahead]) * columns;
            prefetch_row(y + next, columns);
            if (both) prefetch_row(m + next, columns);
        }
        vec<T> w[spline_order];
        for (int k = 0; k < spline_order; ++k) w[k] = all(pairs.weight[p * 2 * spline_order + k]);
#pragma GCC unroll 2
        for (int c = 0; c < columns; c += lanes<T>) {
            const vec<T> filter = combine(row + c, columns, w);
            store(m + a + c, load(m + a + c) + filter * load(y + b + c));
            if (both) store(m + b + c, load(m + b + c) + filter * load(y + a + c));
        }
    }
}

template <class T>
void gather(const Pairs<T>& pairs, const T* table, int columns, const T* y, T* m, bool both) {
    if (both) gather_pairs<T, true>(pairs, table, columns, y, m);
    else gather_pairs<T, false>(pairs, table, columns, y, m);
}

template <class T, bool both, bool spread>
void gather_pairs_reverse(const Pairs<T>& pairs, const T* table, int columns, const T* y, const T* g, T* x, T* slope) {
    for (int64_t p = 0; p < pairs.count; ++p) {
        const std::ptrdiff_t a = std::ptrdiff_t(pairs.a[p]) * columns, b = std::ptrdiff_t(pairs.b[p]) * columns;
        const T* row = table + std::ptrdiff_t(pairs.row[p]) * columns;
        if (p + prefetch_ahead < pairs.count) {
            const std::ptrdiff_t next = std::ptrdiff_t(pairs.b[p + prefetch_ahead]) * columns;
            prefetch_row(g + next, columns);
            if (both) prefetch_row(y + next, columns);
            if (both && spread) prefetch_row(x + next, columns);
        }
        vec<T> w[spline_order], dw[spline_order];
        for (int k = 0; k < spline_order; ++k) w[k] = all(pairs.weight[p * 2 * spline_order + k]);
        for (int k = 0; k < spline_order; ++k) dw[k] = all(pairs.weight[(p * 2 + 1) * spline_order + k]);
        vec<T> total = {};
#pragma GCC unroll 2
        for (int c = 0; c < columns; c += lanes<T>) {
            const vec<T> gb = load(g + b + c);
            vec<T> change = gb * load(y + a + c);
            if (spread) {
                const vec<T> filter = combine(row + c, columns, w);
                store(x + a + c, load(x + a + c) + filter * gb);
                if (both) store(x + b + c, load(x + b + c) + filter * load(g + a + c));
            }
            if (both) change += load(g + a + c) * load(y + b + c);
            total += change * combine(row + c, columns, dw);
        }
        slope[p] += sum<T>(total);
    }
}

template <class T>
void gather_reverse(const Pairs<T>& pairs, const T* table, int columns, const T* y, const T* g, T* x, T* slope,
                    bool both) {
    if (both && x) gather_pairs_reverse<T, true, true>(pairs, table, columns, y, g, x, slope);
    else if (both) gather_pairs_reverse<T, true, false>(pairs, table, columns, y, g, x, slope);
    else if (x) gather_pairs_reverse<T, false, true>(pairs, table, columns, y, g, x, slope);
    else gather_pairs_reverse<T, false, false>(pairs, table, columns, y, g, x, slope);
}

template <class T>
void evaluate(const Pairs<T>& pairs, const T* table, int columns, T* value, T* derivative) {
    for (int64_t p = 0; p < pairs.count; ++p) {
        const T* row = table + std::ptrdiff_t(pairs.row[p]) * columns;
        vec<T> w[spline_order], dw[spline_order];
        for (int k = 0; k < spline_order; ++k) w[k] = all(pairs.weight[p * 2 * spline_order + k]);
        for (int k = 0; k < spline_order; ++k) dw[k] = all(pairs.weight[(p * 2 + 1) * spline_order + k]);
        for (int c = 0; c < columns; c += lanes<T>) {
            if (value) store(value + p * columns + c, combine(row + c, columns, w));
            if (derivative) store(derivative + p * columns + c, combine(row + c, columns, dw));
        }
    }
}

template <class T, bool both>
void describe_pairs(const Pairs<T>& pairs, const T* table, int angular, int radial, const T* unit, T* sums) {
    const int columns = angular + radial, width = 5 * angular + radial;
    for (int64_t p = 0; p < pairs.count; ++p) {
        const T* row = table + std::ptrdiff_t(pairs.row[p]) * columns;
        T* to[2] = {sums + std::ptrdiff_t(pairs.a[p]) * width, sums + std::ptrdiff_t(pairs.b[p]) * width};
        vec<T> w[spline_order], u[3];
        for (int k = 0; k < spline_order; ++k) w[k] = all(pairs.weight[p * 2 * spline_order + k]);
        for (int k = 0; k < 3; ++k) u[k] = all(unit[3 * p + k]);
        for (int c = 0; c < angular; c += lanes<T>) {
            const vec<T> v = combine(row + c, columns, w);
            for (int side = 0; side < 1 + both; ++side) {
                T* at = to[side] + c;
                store(at, load(at) + v);
                for (int k = 0; k < 3; ++k) {
                    at += angular;
                    store(at, side ? load(at) - v * u[k] : load(at) + v * u[k]);
                }
                store(at + angular, load(at + angular) + v * v);
            }
        }
        for (int c = 0; c < radial; c += lanes<T>) {
            const vec<T> v = combine(row + angular + c, columns, w);
            for (int side = 0; side < 1 + both; ++side) {
                T* at = to[side] + 5 * angular + c;
                store(at, load(at) + v);
            }
        }
    }
}

template <class T>
void describe(const Pairs<T>& pairs, const T* table, int angular, int radial, const T* unit, T* sums, bool both) {
    if (both) describe_pairs<T, true>(pairs, table, angular, radial, unit, sums);
    else describe_pairs<T, false>(pairs, table, angular, radial, unit, sums);
}

template <class T>
void describe_reverse(const Pairs<T>& pairs, const T* table, int angular, int radial, const T* unit, const T* sums,
                      T* slope, bool both) {
    const int columns = angular + radial, width = 5 * angular + radial;
    for (int64_t p = 0; p < pairs.count; ++p) {
        const T* row = table + std::ptrdiff_t(pairs.row[p]) * columns;
        const T* from[2] = {sums + std::ptrdiff_t(pairs.a[p]) * width, sums + std::ptrdiff_t(pairs.b[p]) * width};
        vec<T> w[spline_order], dw[spline_order], u[3], along = {}, turn[3] = {};
        for (int k = 0; k < spline_order; ++k) w[k] = all(pairs.weight[p * 2 * spline_order + k]);
        for (int k = 0; k < spline_order; ++k) dw[k] = all(pairs.weight[(p * 2 + 1) * spline_order + k]);
        for (int k = 0; k < 3; ++k) u[k] = all(unit[3 * p + k]);
        for (int c = 0; c < angular; c += lanes<T>) {
            const vec<T> v = combine(row + c, columns, w), dv = combine(row + c, columns, dw);
            for (int side = 0; side < 1 + both; ++side) {
                const T* at = from[side] + c;
                vec<T> total = load(at) + T(2) * v * load(at + 4 * angular);
                for (int k = 0; k < 3; ++k) {
                    const vec<T> g = side ? -load(at + (k + 1) * angular) : load(at + (k + 1) * angular);
                    total += g * u[k];
                    turn[k] += g * v;
                }
                along += total * dv;
            }
        }
        for (int c = 0; c < radial; c += lanes<T>) {
            vec<T> total = load(from[0] + 5 * angular + c);
            if (both) total += load(from[1] + 5 * angular + c);
            along += total * combine(row + angular + c, columns, dw);
        }
        slope[4 * p] = sum<T>(along);
        for (int k = 0; k < 3; ++k) slope[4 * p + k + 1] = sum<T>(turn[k]);
    }
}

template <class T>
constexpr Kernels<T> set(const char* name) {
    return {name, pack<T>, multiply<T>, gather<T>, gather_reverse<T>, evaluate<T>, describe<T>, describe_reverse<T>};
}

}  // namespace

extern const Kernels<float> float_kernels = set<float>(ZOO_ISA_NAME);
extern const Kernels<double> double_kernels = set<double>(ZOO_ISA_NAME);

}  // namespace zoo::ZOO_ISA
