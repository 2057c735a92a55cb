// Dense layers with their weights packed for the kernels, forward and reverse.
#pragma once

#include <algorithm>
#include <cmath>

#include "aligned.hpp"
#include "kernels.hpp"
#include "parameters.hpp"

namespace zoo {

template <class T>
struct Dense {
    int in = 0, out = 0;  // without padding
    bool silu = false;    // in place of shifted softplus
    Buffer<T> forward_weight, reverse_weight, bias;

    Dense(const Network::Layer& layer, int copy, const Kernels<T>& kernels) : in(layer.in), out(layer.out) {
        const double* w = layer.weight.data() + std::size_t(copy) * in * out;
        const int rows = padded(in), columns = padded(out);
        Buffer<T> plain(std::size_t(in) * columns, T(0)), turned(std::size_t(out) * rows, T(0));
        for (int i = 0; i < in; ++i) {
            for (int o = 0; o < out; ++o) {
                plain[std::size_t(i) * columns + o] = turned[std::size_t(o) * rows + i] =
                    T(w[std::size_t(i) * out + o]);
            }
        }
        forward_weight = Buffer<T>(plain.size());
        reverse_weight = Buffer<T>(turned.size());
        kernels.pack(in, columns, plain.data(), forward_weight.data());
        kernels.pack(out, rows, turned.data(), reverse_weight.data());
        bias.assign(std::size_t(columns), T(0));
        for (int o = 0; o < out && !layer.bias.empty(); ++o) bias[o] = T(layer.bias[std::size_t(copy) * out + o]);
    }

    // c [n, padded(out)] from a [n, padded(in)].
    void forward(const Kernels<T>& kernels, int n, const T* a, T* c, Then then, T* slope = nullptr) const {
        const int columns = padded(out);
        kernels.multiply(
            {n, in, columns, a, padded(in), forward_weight.data(), bias.data(), c, columns, slope, columns, then});
    }

    // As forward, and the activation with its slope. SiLU is that of small networks, and stays out of the kernels.
    void activate(const Kernels<T>& kernels, int n, const T* a, T* c, T* slope) const {
        if (!silu) return forward(kernels, n, a, c, Then::activate, slope);
        forward(kernels, n, a, c, Then::store);
        for (std::size_t i = 0; i < std::size_t(n) * padded(out); ++i) {
            const T logistic = T(1) / (T(1) + std::exp(-c[i]));
            slope[i] = logistic * (T(1) + c[i] * (T(1) - logistic));
            c[i] *= logistic;
        }
    }

    // c [n, padded(in)] from the gradient a [n, padded(out)].
    void reverse(const Kernels<T>& kernels, int n, const T* a, T* c, Then then, T* slope = nullptr) const {
        const int columns = padded(in);
        kernels.multiply(
            {n, out, columns, a, padded(out), reverse_weight.data(), nullptr, c, columns, slope, columns, then});
    }
};

template <class T>
using Layers = std::vector<Dense<T>>;

template <class T>
Layers<T> make_layers(const Network& network, int copy, const Kernels<T>& kernels) {
    Layers<T> layers;
    for (const auto& layer : network.layers) {
        layers.emplace_back(layer, copy, kernels);
        layers.back().silu = network.silu;
    }
    return layers;
}

// A network with one output, for a block of rows; keeps what the reverse pass needs.
template <class T>
class Readout {
  public:
    // value[r] = network(x[r]); where `gradient` is given, also [n, padded(in)] of the sum of values.
    void operator()(const Kernels<T>& kernels, const Layers<T>& layers, int n, const T* x, T* value, T* gradient) {
        const std::size_t hidden = layers.size() - 1;
        if (slopes_.size() < hidden) slopes_.resize(hidden), activations_.resize(hidden);
        const T* input = x;
        for (std::size_t k = 0; k < hidden; ++k) {
            const std::size_t size = std::size_t(n) * padded(layers[k].out);
            reserve_rows(slopes_[k], size);
            reserve_rows(activations_[k], size);
            layers[k].activate(kernels, n, input, activations_[k].data(), slopes_[k].data());
            input = activations_[k].data();
        }
        last(layers.back(), n, input, value);
        if (gradient) reverse(kernels, layers, n, gradient);
    }

  private:
    static void last(const Dense<T>& layer, int n, const T* input, T* value) {
        for (int r = 0; r < n; ++r, input += padded(layer.in)) {
            T total = 0;
            for (int i = 0; i < layer.in; ++i) total += input[i] * layer.reverse_weight[i];
            value[r] = total + layer.bias[0];
        }
    }

    void reverse(const Kernels<T>& kernels, const Layers<T>& layers, int n, T* gradient) {
        const Dense<T>& end = layers.back();
        const int columns = padded(end.in);
        if (layers.size() == 1) {
            for (int r = 0; r < n; ++r)
                std::copy_n(end.reverse_weight.data(), columns, gradient + std::size_t(r) * columns);
            return;
        }
        T* slope = slopes_[layers.size() - 2].data();
        for (int r = 0; r < n; ++r, slope += columns) {
            for (int i = 0; i < columns; ++i) slope[i] *= end.reverse_weight[i];
        }
        for (std::size_t k = layers.size() - 1; k-- > 0;) {
            T* to = k ? activations_[k - 1].data() : gradient;
            const T* from = k + 2 == layers.size() ? slopes_[k].data() : activations_[k].data();
            layers[k].reverse(kernels, n, from, to, k ? Then::chain : Then::store, k ? slopes_[k - 1].data() : nullptr);
        }
    }

    std::vector<Buffer<T>> slopes_, activations_;
};

}  // namespace zoo
