// The inner loops, compiled once for each instruction set and chosen at run time.
//
// All matrices are row-major; the number of columns is a multiple of `columns_multiple`, filled with zeros.
#pragma once

#include <cstddef>
#include <cstdint>

namespace zoo {

constexpr int columns_multiple = 16;
constexpr int spline_order = 6;  // rows of a quintic B-spline that meet at a point

inline int padded(int columns) { return (columns + columns_multiple - 1) / columns_multiple * columns_multiple; }

// What a product of matrices does with each result r and the bias b.
enum class Then : int {
    store,     // c = r + b
    add,       // c += r + b
    activate,  // c = ssp(r + b), slope = sigmoid(r + b)
    chain,     // c = r * slope
};

template <class T>
struct Product {
    int rows, inner, columns;
    const T* a;
    std::ptrdiff_t a_stride;
    const T* packed;  // from Kernels::pack
    const T* bias;    // [columns] or null
    T* c;
    std::ptrdiff_t c_stride;
    T* slope;
    std::ptrdiff_t slope_stride;
    Then then;
};

// Pairs of atoms (a, b) with the place of their distance in a table of B-splines.
template <class T>
struct Pairs {
    int64_t count;
    const int32_t* a;
    const int32_t* b;
    const int32_t* row;  // first of the spline_order rows
    const T* weight;     // [count, 2 * spline_order]: of the value, then of its derivative
};

template <class T>
struct Kernels {
    const char* name;
    // Packs b [inner, columns] for `multiply`; needs inner * columns places.
    void (*pack)(int inner, int columns, const T* b, T* packed);
    void (*multiply)(const Product<T>&);
    // W = spline(d): m[a] += W y[b], and where `both` m[b] += W y[a].
    void (*gather)(const Pairs<T>&, const T* table, int columns, const T* y, T* m, bool both);
    // slope[p] += W'(d) . (g[b] y[a] + g[a] y[b]) and, where x is given, x[a] += W g[b], x[b] += W g[a];
    // without `both` only slope[p] += W' . g[b] y[a] and x[a] += W g[b].
    void (*gather_reverse)(const Pairs<T>&, const T* table, int columns, const T* y, const T* g, T* x, T* slope,
                           bool both);
    // value[p] = W(d), derivative[p] = W'(d): [count, columns]; either may be null.
    void (*evaluate)(const Pairs<T>&, const T* table, int columns, T* value, T* derivative);
    // Sums over neighbours for symmetry functions. The table holds `angular` columns v, then `radial` columns w; `sums`
    // has rows of 5 * angular + radial columns: of v, of v times the unit vector's x, y and z, of v squared, and of w.
    // Adds each pair to row a and, where `both`, with the unit vector [count, 3] turned round, to row b.
    void (*describe)(const Pairs<T>&, const T* table, int angular, int radial, const T* unit, T* sums, bool both);
    // From the gradients of the sums: slope[p] = [dE/dd, dE/du], each [count, 4].
    void (*describe_reverse)(const Pairs<T>&, const T* table, int angular, int radial, const T* unit, const T* sums,
                             T* slope, bool both);
};

// The best set for this machine, or the named one ("baseline", "avx2", "avx512"); null if it cannot run here.
template <class T>
const Kernels<T>* kernels(const char* name);

}  // namespace zoo
