// SchNet's convolution with tabulated filters, forward and backward, in one pass over the pairs of atoms.
//
// A pair p = (i, j) has the filter W = sum_m c[p, m] * table[row[p] + m], m = 0..3, and
// out_i += W * x_j, out_j += W * x_i. Rows are `width` floats. One thread: training runs one process a core.
#include <cstdint>

namespace {
constexpr int taps = 4;
}

extern "C" void zoo_convolve(std::int64_t pairs, std::int64_t width, const std::int64_t* i, const std::int64_t* j,
                             const std::int64_t* row, const float* c, const float* table, const float* x, float* out) {
  for (std::int64_t p = 0; p < pairs; ++p, c += taps) {
    const float* w = table + row[p] * width;
    const float *xi = x + i[p] * width, *xj = x + j[p] * width;
    float *oi = out + i[p] * width, *oj = out + j[p] * width;
    if (oi == oj) {  // an atom and its own periodic image
      for (std::int64_t f = 0; f < width; ++f) {
        const float filter = c[0] * w[f] + c[1] * w[f + width] + c[2] * w[f + 2 * width] + c[3] * w[f + 3 * width];
        oi[f] += 2.0f * filter * xi[f];
      }
      continue;
    }
#pragma GCC ivdep
    for (std::int64_t f = 0; f < width; ++f) {
      const float filter = c[0] * w[f] + c[1] * w[f + width] + c[2] * w[f + 2 * width] + c[3] * w[f + 3 * width];
      oi[f] += filter * xj[f];
      oj[f] += filter * xi[f];
    }
  }
}

// Given d = dE/dout, adds dE/dx to dx and dE/dtable to dtable.
extern "C" void zoo_convolve_backward(std::int64_t pairs, std::int64_t width, const std::int64_t* i,
                                      const std::int64_t* j, const std::int64_t* row, const float* c,
                                      const float* table, const float* x, const float* d, float* dx, float* dtable) {
  zoo_convolve(pairs, width, i, j, row, c, table, d, dx);  // the convolution is its own transpose
  for (std::int64_t p = 0; p < pairs; ++p, c += taps) {
    float* w = dtable + row[p] * width;
    const float *xi = x + i[p] * width, *xj = x + j[p] * width;
    const float *di = d + i[p] * width, *dj = d + j[p] * width;
#pragma GCC ivdep
    for (std::int64_t f = 0; f < width; ++f) {
      const float slope = di[f] * xj[f] + dj[f] * xi[f];
      w[f] += c[0] * slope;
      w[f + width] += c[1] * slope;
      w[f + 2 * width] += c[2] * slope;
      w[f + 3 * width] += c[3] * slope;
    }
  }
}
