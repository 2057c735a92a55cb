// SchNet, https://doi.org/10.1063/1.5019779, with its reverse pass by hand:
//   y = B1 x,  m_i = sum_j W(d_ij) y_j,  x <- x + B3 ssp(B2 m + c2) + c3.
#include <algorithm>
#include <cstdio>

#include "error.hpp"
#include "filter.hpp"
#include "network.hpp"
#include "records.hpp"

namespace zoo {
namespace {

template <class T>
struct Interaction {
    Dense<T> in, out0, out1;
};

template <class T>
class SchNet final : public Engine {
  public:
    SchNet(const Parameters& parameters, const Options& options);
    std::unique_ptr<Worker> worker() const override;

    const Kernels<T>& kernels;
    double cutoff;
    int columns;
    Buffer<T> embedding, first_message;  // [S, columns]: x and y of each element before the first interaction
    std::vector<Interaction<T>> interactions;
    std::vector<Head> heads;
    std::vector<Layers<T>> readouts;  // of the heads, one a head and element (the same where shared)
    int energy_head;
    Tables<T> tables;                // empty where exact
    std::vector<Functions> filters;  // where exact
};

template <class T>
class SchNetWorker final : public Worker {
  public:
    explicit SchNetWorker(const SchNet<T>& model) : model_(model), f_(std::size_t(model.columns)) {}
    void begin(const Part& part) override;
    void forward(int layer) override;
    void read_out(double* const* contributions, bool gradients) override;
    void reverse(int layer) override;
    void pair_gradients(Vector* gradients) override;
    void get_features(int atom, double* row) const override { get(y_[std::size_t(next_)], atom, row); }
    void set_features(int atom, const double* row) override;
    void get_gradients(int atom, double* row) const override { get(dy_, atom, row); }
    void add_gradients(int atom, const double* row) override;

  private:
    void get(const Buffer<T>& rows, int atom, double* row) const {
        std::copy_n(rows.data() + std::size_t(atom) * f_, model_.features, row);
    }
    const T* filter(const Records<T>& records, int layer, Buffer<T>& exact) const;
    void update(int from, int to, int layer, T* hidden);
    void update_reverse(int from, int to, int layer, T* hidden);

    const SchNet<T>& model_;
    const std::size_t f_;
    Part part_{};
    std::vector<Block<T>> blocks_;
    int next_ = 0;                      // layer whose messages the host exchanges
    Buffer<T> x_, m_, dx_, dy_;         // features, sums of messages (then their gradients), gradients of x and y
    std::vector<Buffer<T>> y_, slope_;  // of each layer: messages, slopes of the activation
};

template <class T>
SchNet<T>::SchNet(const Parameters& parameters, const Options& options)
    : kernels(*zoo::kernels<T>(options.instruction_set)),
      cutoff(parameters.cutoff),
      columns(padded(parameters.schnet.features)),
      heads(parameters.heads),
      energy_head(parameters.energy_head()) {
    const SchNetParameters& p = parameters.schnet;
    layers = int(p.interactions.size());
    features = p.features;
    for (const auto& interaction : p.interactions) {
        interactions.push_back({Dense<T>(interaction.in_features.layers[0], 0, kernels),
                                Dense<T>(interaction.out.layers[0], 0, kernels),
                                Dense<T>(interaction.out.layers[1], 0, kernels)});
    }
    const int elements = int(parameters.species.size());
    embedding.assign(std::size_t(elements) * columns, T(0));
    for (int s = 0; s < elements; ++s) {
        for (int c = 0; c < features; ++c)
            embedding[std::size_t(s) * columns + c] = T(p.embedding[std::size_t(s) * features + c]);
    }
    first_message = Buffer<T>(embedding.size());
    interactions[0].in.forward(kernels, elements, embedding.data(), first_message.data(), Then::store);
    for (const Head& head : heads) {
        if (head.network.copies != 1) bad_file("head " + head.name + ": networks for each element need a descriptor");
        readouts.push_back(make_layers<T>(head.network, 0, kernels));
    }
    for (int l = 0; l < layers; ++l) filters.push_back(schnet_filter(p, std::size_t(l), cutoff));
    char text[200];
    if (options.exact) {
        std::snprintf(text, sizeof text, "exact filters");
    } else {
        // Filters are padded with columns of zeros, as all features are.
        std::vector<Functions> wide;
        for (const auto& filter : filters) {
            wide.push_back([filter, narrow = features, full = columns](int n, const double* d, double* w, double* dw) {
                filter(n, d, w, dw);
                for (int r = n; r-- > 0;) {
                    for (double* rows : {w, dw}) {
                        std::move_backward(rows + std::ptrdiff_t(r) * narrow, rows + std::ptrdiff_t(r + 1) * narrow,
                                           rows + std::ptrdiff_t(r) * full + narrow);
                        std::fill(rows + std::ptrdiff_t(r) * full + narrow, rows + std::ptrdiff_t(r + 1) * full, 0.0);
                    }
                }
            });
        }
        tables = tabulate<T>(wide, columns, cutoff, options.tolerance);
        filters.clear();
        intervals = tables.intervals;
        value_error = tables.error.value;
        slope_error = tables.error.slope;
        std::snprintf(
            text, sizeof text,
            "filters from %d intervals of quintic splines (largest error of a slope %.1e of the largest slope)",
            intervals, slope_error);
    }
    description = "SchNet with " + std::to_string(features) + " features and " + std::to_string(layers) +
                  " interactions, " + (sizeof(T) == 4 ? "float32" : "float64") + ", " + kernels.name + ", " + text;
}

template <class T>
std::unique_ptr<Worker> SchNet<T>::worker() const {
    return std::make_unique<SchNetWorker<T>>(*this);
}

template <class T>
void SchNetWorker<T>::begin(const Part& part) {
    part_ = part;
    next_ = 0;
    const std::size_t size = std::size_t(part.n_atoms) * f_;
    for (Buffer<T>* rows : {&x_, &m_, &dx_, &dy_}) reserve_rows(*rows, size);
    y_.resize(std::size_t(model_.layers));
    slope_.resize(std::size_t(model_.layers));
    for (auto& rows : y_) reserve_rows(rows, size);
    for (auto& rows : slope_) reserve_rows(rows, size);
    make_blocks(part, model_.cutoff, part.pool ? part.pool->size() : 1, blocks_);
    for_blocks(part, blocks_, [&](Block<T>& block, int) {
        for (Records<T>* records : {&block.inside, &block.across, &block.outgoing, &block.incoming}) {
            if (model_.tables.intervals) records->place(model_.tables, part.list->distances.data() + part.first_pair);
            else records->place_exact();
        }
        for (int i = block.from; i < block.to; ++i) {
            const std::size_t from = std::size_t(part.elements[i]) * f_, to = std::size_t(i) * f_;
            std::copy_n(model_.embedding.data() + from, f_, x_.data() + to);
            std::copy_n(model_.first_message.data() + from, f_, y_[0].data() + to);
        }
    });
}

// The table of a layer, or its filters evaluated for these records, value and slope alternating.
template <class T>
const T* SchNetWorker<T>::filter(const Records<T>& records, int layer, Buffer<T>& exact) const {
    if (model_.tables.intervals) return model_.tables.layers[std::size_t(layer)].data();
    const std::size_t narrow = std::size_t(model_.features);
    exact.assign((2 * records.size() + spline_order) * f_, T(0));
    std::vector<double> distances(records.size()), w(records.size() * narrow), dw(records.size() * narrow);
    for (std::size_t r = 0; r < records.size(); ++r)
        distances[r] = part_.list->distances[part_.first_pair + records.pair(r)];
    model_.filters[std::size_t(layer)](int(records.size()), distances.data(), w.data(), dw.data());
    for (std::size_t r = 0; r < records.size(); ++r) {
        for (std::size_t c = 0; c < narrow; ++c) {
            exact[2 * r * f_ + c] = T(w[r * narrow + c]);
            exact[(2 * r + 1) * f_ + c] = T(dw[r * narrow + c]);
        }
    }
    return exact.data();
}

template <class T>
void SchNetWorker<T>::forward(int layer) {
    const T* y = y_[std::size_t(layer)].data();
    for_blocks(part_, blocks_, [&](Block<T>& block, int) {
        const int last = std::min(block.to, part_.n_local);
        std::fill(m_.data() + std::size_t(block.from) * f_, m_.data() + std::size_t(block.to) * f_, T(0));
        Buffer<T> exact, hidden(group_atoms * f_);
        for (const Records<T>* records : {&block.across, &block.outgoing}) {
            model_.kernels.gather(records->pairs(), filter(*records, layer, exact), model_.columns, y, m_.data(),
                                  false);
        }
        // Once the pairs of a group are done nothing more is added to its rows.
        const T* table = filter(block.inside, layer, exact);
        auto group = block.inside.groups().begin();
        for (int from = block.from, to; from < block.to; from = to) {
            to = std::min((from / group_atoms + 1) * group_atoms, block.to);
            if (group != block.inside.groups().end() && group->index == from / group_atoms) {
                model_.kernels.gather(block.inside.pairs(*group++), table, model_.columns, y, m_.data(), true);
            }
            if (from < last) update(from, std::min(to, last), layer, hidden.data());
        }
    });
    next_ = std::min(layer + 1, model_.layers - 1);
}

// From the sums of messages to the features, and to the messages of the next layer.
template <class T>
void SchNetWorker<T>::update(int from, int to, int layer, T* hidden) {
    const int n = to - from;
    const std::size_t at = std::size_t(from) * f_, l = std::size_t(layer);
    const auto& interaction = model_.interactions[l];
    interaction.out0.forward(model_.kernels, n, m_.data() + at, hidden, Then::activate, slope_[l].data() + at);
    interaction.out1.forward(model_.kernels, n, hidden, x_.data() + at, Then::add);
    if (layer + 1 < model_.layers) {
        model_.interactions[l + 1].in.forward(model_.kernels, n, x_.data() + at, y_[l + 1].data() + at, Then::store);
    }
}

template <class T>
void SchNetWorker<T>::read_out(double* const* contributions, bool gradients) {
    for_blocks(part_, blocks_, [&](Block<T>& block, int) {
        Readout<T> readout;
        T value[group_atoms];
        const int last = std::min(block.to, part_.n_local);
        for (int from = block.from; from < last; from += group_atoms) {
            const int n = std::min(group_atoms, last - from);
            const std::size_t at = std::size_t(from) * f_;
            for (std::size_t h = 0; h < model_.heads.size(); ++h) {
                const Head& head = model_.heads[h];
                const bool wanted = gradients && int(h) == model_.energy_head;
                readout(model_.kernels, model_.readouts[h], n, x_.data() + at, value,
                        wanted ? dx_.data() + at : nullptr);
                for (int i = 0; i < n; ++i) {
                    contributions[h][from + i] =
                        head.scale * double(value[i]) + head.reference[std::size_t(part_.elements[from + i])];
                }
            }
        }
    });
}

// From the gradients of the features to those of the sums of messages, which take their place.
template <class T>
void SchNetWorker<T>::update_reverse(int from, int to, int layer, T* hidden) {
    const int n = to - from;
    const std::size_t at = std::size_t(from) * f_, l = std::size_t(layer);
    if (layer + 1 < model_.layers) {
        model_.interactions[l + 1].in.reverse(model_.kernels, n, dy_.data() + at, dx_.data() + at, Then::add);
    }
    const auto& interaction = model_.interactions[l];
    interaction.out1.reverse(model_.kernels, n, dx_.data() + at, hidden, Then::chain, slope_[l].data() + at);
    interaction.out0.reverse(model_.kernels, n, hidden, m_.data() + at, Then::store);
}

template <class T>
void SchNetWorker<T>::reverse(int layer) {
    const T* y = y_[std::size_t(layer)].data();
    T* dy = layer ? dy_.data() : nullptr;
    for_blocks(part_, blocks_, [&](Block<T>& block, int) {
        Buffer<T> exact, hidden(group_atoms * f_);
        const T* table = filter(block.inside, layer, exact);
        auto group = block.inside.groups().rbegin();
        // Backwards, since the pairs of a group need the gradients of this and later ones.
        for (int to = block.to, from; to > block.from; to = from) {
            from = std::max((to - 1) / group_atoms * group_atoms, block.from);
            if (from < part_.n_local) update_reverse(from, std::min(to, part_.n_local), layer, hidden.data());
            if (layer) std::fill(dy + std::size_t(from) * f_, dy + std::size_t(to) * f_, T(0));
            if (group != block.inside.groups().rend() && group->index == from / group_atoms) {
                T* slope = block.inside.slope.data() + group->begin;
                model_.kernels.gather_reverse(block.inside.pairs(*group++), table, model_.columns, y, m_.data(), dy,
                                              slope, true);
            }
        }
    });
    for_blocks(part_, blocks_, [&](Block<T>& block, int) {
        Buffer<T> exact;
        for (Records<T>* records : {&block.across, &block.incoming}) {
            model_.kernels.gather_reverse(records->pairs(), filter(*records, layer, exact), model_.columns, y,
                                          m_.data(), dy, records->slope.data(), false);
        }
    });
}

template <class T>
void SchNetWorker<T>::pair_gradients(Vector* gradients) {
    const double scale = model_.heads[std::size_t(model_.energy_head)].scale;
    for (const Block<T>& block : blocks_) {
        for (const Records<T>* records : {&block.inside, &block.across, &block.incoming}) {
            for (std::size_t r = 0; r < records->size(); ++r) {
                const std::size_t pair = records->pair(r), p = part_.first_pair + pair;
                const double s = scale * double(records->slope[r]) / part_.list->distances[p];
                const Vector& v = part_.list->vectors[p];
                gradients[pair] = {gradients[pair].x + s * v.x, gradients[pair].y + s * v.y,
                                   gradients[pair].z + s * v.z};
            }
        }
    }
}

template <class T>
void SchNetWorker<T>::set_features(int atom, const double* row) {
    T* to = y_[std::size_t(next_)].data() + std::size_t(atom) * f_;
    std::fill(std::transform(row, row + model_.features, to, [](double v) { return T(v); }), to + f_, T(0));
}

template <class T>
void SchNetWorker<T>::add_gradients(int atom, const double* row) {
    T* to = dy_.data() + std::size_t(atom) * f_;
    for (int c = 0; c < model_.features; ++c) to[c] += T(row[c]);
}

}  // namespace

template <class T>
std::unique_ptr<Engine> make_schnet(const Parameters& parameters, const Options& options) {
    return std::make_unique<SchNet<T>>(parameters, options);
}

template std::unique_ptr<Engine> make_schnet<float>(const Parameters&, const Options&);
template std::unique_ptr<Engine> make_schnet<double>(const Parameters&, const Options&);

}  // namespace zoo
