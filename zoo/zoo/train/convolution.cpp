// SchNet's convolution with tabulated filters, its derivatives, and the activation: the inner loops of training.
//
// A pair p = (i, j) has the filter W = sum_m c[p, 0, m] * table[row[p] + m], m = 0..5, whose derivative with respect to
// the distance is W' = sum_m c[p, 1, m] * table[row[p] + m]. A convolution is out_i += W * y_j, out_j += W * y_i; for
// an atom and its own image (i = j) that is out_i += 2 W * y_i. Rows are `width` floats. One thread: training runs one
// process a core.
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {
using Index = std::int64_t;
constexpr int taps = 6;

inline float interpolate(const float* c, const float* w, Index width) {
  float sum = c[0] * w[0];
  for (int m = 1; m < taps; ++m) sum += c[m] * w[m * width];
  return sum;
}

// e^-t for t >= 0, to float precision, in a form that compilers vectorise.
inline float decay(float t) {
  t = t < 87.0f ? t : 87.0f;
  const float n = std::floor(0.5f - t * 1.44269504f);
  const float r = (-t - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const std::int32_t bits = (static_cast<std::int32_t>(n) + 127) << 23;  // 2^n
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

// ln(1 + e) for 0 <= e <= 1: 2 artanh(e / (2 + e)).
inline float log1p(float e) {
  const float s = e / (2.0f + e), q = s * s;
  float p = 1.0f / 13.0f;
  p = p * q + 1.0f / 11.0f;
  p = p * q + 1.0f / 9.0f;
  p = p * q + 1.0f / 7.0f;
  p = p * q + 1.0f / 5.0f;
  p = p * q + 1.0f / 3.0f;
  return 2.0f * (s + s * q * p);
}
}  // namespace

extern "C" {

// z + bias becomes ssp(z + bias) = ln(0.5 e^z + 0.5); its derivative goes to slope.
void zoo_activate(Index rows, Index width, const float* bias, float* z, float* slope) {
  for (Index r = 0; r < rows; ++r, z += width, slope += width) {
#pragma omp simd
    for (Index f = 0; f < width; ++f) {
      const float x = z[f] + bias[f], e = decay(std::fabs(x)), inverse = 1.0f / (1.0f + e);
      z[f] = (x < 0.0f ? 0.0f : x) + log1p(e) - 0.693147181f;
      slope[f] = x > 0.0f ? inverse : e * inverse;
    }
  }
}

// dz <- s * dz + rate * first * (1 - s): from the derivative of dot(dh, h) with respect to h, in dz, to that of
// dot(dh, ssp(z)) + dot(dh1, s(z) * rate) with respect to z, where first = s * dh1.
void zoo_bend(Index size, const float* s, const float* first, const float* rate, float* dz) {
#pragma omp simd
  for (Index k = 0; k < size; ++k) dz[k] = s[k] * dz[k] + first[k] * rate[k] * (1.0f - s[k]);
}

void zoo_convolve(Index pairs, Index width, const Index* i, const Index* j, const Index* row, const float* c,
                  const float* table, const float* y, float* out) {
  for (Index p = 0; p < pairs; ++p, c += 2 * taps) {
    const float* w = table + row[p] * width;
    const float *yi = y + i[p] * width, *yj = y + j[p] * width;
    float *oi = out + i[p] * width, *oj = out + j[p] * width;
    if (i[p] == j[p]) {
      for (Index f = 0; f < width; ++f) oi[f] += 2.0f * interpolate(c, w + f, width) * yi[f];
      continue;
    }
#pragma omp simd
    for (Index f = 0; f < width; ++f) {
      const float filter = interpolate(c, w + f, width);
      oi[f] += filter * yj[f];
      oj[f] += filter * yi[f];
    }
  }
}

// The tangent of a convolution, where distances change at the rates u and features at the rates ydot.
void zoo_convolve_tangent(Index pairs, Index width, const Index* i, const Index* j, const Index* row, const float* c,
                          const float* table, const float* u, const float* y, const float* ydot, float* out) {
  for (Index p = 0; p < pairs; ++p, c += 2 * taps) {
    const float* w = table + row[p] * width;
    const float *yi = y + i[p] * width, *yj = y + j[p] * width;
    const float *di = ydot + i[p] * width, *dj = ydot + j[p] * width;
    float *oi = out + i[p] * width, *oj = out + j[p] * width;
    const float rate = u[p];
    if (i[p] == j[p]) {
      for (Index f = 0; f < width; ++f)
        oi[f] += 2.0f * (interpolate(c, w + f, width) * di[f] + rate * interpolate(c + taps, w + f, width) * yi[f]);
      continue;
    }
#pragma omp simd
    for (Index f = 0; f < width; ++f) {
      const float filter = interpolate(c, w + f, width), slope = rate * interpolate(c + taps, w + f, width);
      oi[f] += filter * dj[f] + slope * yj[f];
      oj[f] += filter * di[f] + slope * yi[f];
    }
  }
}

// Given ds = dE/dout of a convolution of y, adds dE/d(distance) to g.
void zoo_convolve_distance(Index pairs, Index width, const Index* i, const Index* j, const Index* row, const float* c,
                           const float* table, const float* y, const float* ds, float* g) {
  for (Index p = 0; p < pairs; ++p, c += 2 * taps) {
    const float* w = table + row[p] * width;
    const float *yi = y + i[p] * width, *yj = y + j[p] * width, *si = ds + i[p] * width, *sj = ds + j[p] * width;
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (Index f = 0; f < width; ++f) sum += interpolate(c + taps, w + f, width) * (si[f] * yj[f] + sj[f] * yi[f]);
    g[p] += sum;
  }
}

// Given dq = dL/dout of a convolution of y, adds dL/dtable.
void zoo_convolve_table(Index pairs, Index width, const Index* i, const Index* j, const Index* row, const float* c,
                        const float* y, const float* dq, float* dtable) {
  for (Index p = 0; p < pairs; ++p, c += 2 * taps) {
    float* w = dtable + row[p] * width;
    const float *yi = y + i[p] * width, *yj = y + j[p] * width, *qi = dq + i[p] * width, *qj = dq + j[p] * width;
#pragma omp simd
    for (Index f = 0; f < width; ++f) {
      const float value = qi[f] * yj[f] + qj[f] * yi[f];
      for (int m = 0; m < taps; ++m) w[f + m * width] += c[m] * value;
    }
  }
}

// The same where the loss also depends on the tangent: ds is its derivative with respect to the tangent of out.
void zoo_convolve_tangent_table(Index pairs, Index width, const Index* i, const Index* j, const Index* row,
                                const float* c, const float* u, const float* y, const float* ydot, const float* dq,
                                const float* ds, float* dtable) {
  for (Index p = 0; p < pairs; ++p, c += 2 * taps) {
    float* w = dtable + row[p] * width;
    const float *yi = y + i[p] * width, *yj = y + j[p] * width, *di = ydot + i[p] * width, *dj = ydot + j[p] * width;
    const float *qi = dq + i[p] * width, *qj = dq + j[p] * width, *si = ds + i[p] * width, *sj = ds + j[p] * width;
    const float rate = u[p];
#pragma omp simd
    for (Index f = 0; f < width; ++f) {
      const float value = qi[f] * yj[f] + qj[f] * yi[f] + si[f] * dj[f] + sj[f] * di[f];
      const float slope = rate * (si[f] * yj[f] + sj[f] * yi[f]);
      for (int m = 0; m < taps; ++m) w[f + m * width] += c[m] * value + c[m + taps] * slope;
    }
  }
}
}
